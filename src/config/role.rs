//! The parts of the service that a process can be asked to run.

/// A part of the service; `serve --role a,b` runs some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Submit API and NATS service.
    Intake,
    /// Creates tasks at Kling.
    Dispatcher,
    /// Takes callbacks.
    Receiver,
    /// Turns callbacks into completions.
    Completer,
    /// Stores outputs.
    Downloader,
    /// Closes the money.
    Accountant,
    /// Asks about tasks that went quiet.
    Reconciler,
}

impl Role {
    /// Every role, in flow order.
    pub const ALL: [Role; 7] = [
        Role::Intake,
        Role::Dispatcher,
        Role::Receiver,
        Role::Completer,
        Role::Downloader,
        Role::Accountant,
        Role::Reconciler,
    ];

    /// Returns the role's name on the command line and in `/readyz`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Intake => "intake",
            Role::Dispatcher => "dispatcher",
            Role::Receiver => "receiver",
            Role::Completer => "completer",
            Role::Downloader => "downloader",
            Role::Accountant => "accountant",
            Role::Reconciler => "reconciler",
        }
    }

    /// Tells whether the role calls Kling's API.
    #[must_use]
    pub fn calls_kling(self) -> bool {
        matches!(self, Role::Dispatcher | Role::Completer | Role::Reconciler)
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == name);
        let names = Role::ALL.map(Role::as_str).join(", ");
        found.ok_or_else(|| format!("there is no role {name:?}; the roles are {names}"))
    }
}
