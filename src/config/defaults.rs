//! What each key is when nobody sets it. `deploy/kling-relay.toml` says the same, with the reasons,
//! and a test compares the two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use url::Url;

use super::sections::{
    Admin, Api, Budget, Cost, Detector, Dispatcher, Intake, Kling, ListenerLimits, Moderation,
    MoneyWriter, Nats, Pricing, Prompt, Receiver, Reconciler, Retention, Retry, Reuse, Runner,
    Sensitive, Storage, Thresholds, TlsFiles, Unsigned, Usage,
};
use crate::model::request::Purpose;

const MIB: u64 = 1 << 20;
const GIB: i64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

impl Default for Nats {
    fn default() -> Self {
        Self {
            url: None,
            credentials_file: None,
            ca_file: None,
            replicas: 1,
            server_binary: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 4222)),
            log_max_bytes: 8 * GIB,
            callbacks_max_bytes: 2 * GIB,
            dead_max_bytes: GIB,
            replay_max_bytes: GIB,
            commit_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(1),
        }
    }
}

impl Default for Kling {
    fn default() -> Self {
        Self {
            base_url: Url::parse("https://api-singapore.klingai.com")
                .expect("the literal is a URL"),
            ca_file: None,
            api_key: None,
            access_key: None,
            secret_key: None,
            max_concurrent: 5,
            concurrency: BTreeMap::new(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            response_max_bytes: 8 << 20,
            read_attempts_max: 5,
            read_backoff_base: Duration::from_secs(1),
            read_backoff_cap: Duration::from_secs(60),
        }
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            public_url: None,
            tls: TlsFiles::default(),
            capability_keys: Vec::new(),
            webhook_secrets: Vec::new(),
            unsigned: Unsigned::Confirm,
            body_max_bytes: 1 << 20,
            unsigned_body_max_bytes: 64 << 10,
            bodies_max_bytes: 64 << 20,
            store_timeout: Duration::from_secs(4),
            limits: ListenerLimits::default(),
        }
    }
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            backlog: 128,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            headers_max_bytes: 32 << 10,
            request_timeout: Duration::from_secs(30),
            http2_streams_max: 100,
            http2_resets_max: 20,
            connection_age_max: Duration::from_secs(600),
            certificate_check_every: Duration::from_secs(5),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: TlsFiles::default(),
            keys: Vec::new(),
            operator_keys: Vec::new(),
            rate_limit: 50,
            rate_burst: 200,
            streams_max: 100,
            body_max_bytes: 512 << 10,
            batch_body_max_bytes: 4 << 20,
            bodies_max_bytes: 64 << 20,
            accept_timeout: Duration::from_secs(10),
            limits: ListenerLimits::default(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9090)),
            tls: TlsFiles::default(),
            limits: ListenerLimits {
                connections_max: 256,
                ..ListenerLimits::default()
            },
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        let suffixes = [".klingai.com", ".inkwai.com", ".kuaishou.com"];
        Self {
            url: None,
            options: BTreeMap::new(),
            ca_file: None,
            allowed_hosts: suffixes.map(str::to_owned).to_vec(),
            allow_private: false,
            max_bytes: 500 * MIB,
            spool_max_bytes: 4_096 * MIB,
            concurrency: 4,
            redirects_max: 3,
            attempts_max: 5,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(600),
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(10),
        }
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            default_purpose: Purpose::Final,
        }
    }
}

impl Default for Pricing {
    fn default() -> Self {
        Self {
            book: "official-2026-09".to_owned(),
            cost: Cost::default(),
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            digest_every: Duration::from_secs(300),
            report_timeout: Duration::from_secs(20),
            reports_max: 2,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            daily_limit: None,
            account_daily_limit: None,
            tenants: BTreeMap::new(),
            alert_threshold: Thresholds::One(Decimal::new(8, 1)),
            alert_hook: None,
            alert_hook_timeout: Duration::from_secs(10),
            time_zone: "UTC".to_owned(),
            day_starts: "00:00".to_owned(),
            writer: MoneyWriter::default(),
        }
    }
}

impl Default for MoneyWriter {
    fn default() -> Self {
        Self {
            queue_max: 1_024,
            fold_tasks_max: 200,
            fold_messages_max: 400,
            fold_bytes_max: 8 << 20,
            closing_timeout: Duration::from_secs(15),
        }
    }
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            sensitive: Sensitive::Refuse,
            detectors: Detector::ALL.to_vec(),
            terms_file: None,
            negative_prompt: "violence, gore, nudity, sexual content, weapons, drugs, \
                              hate symbols, self-harm"
                .to_owned(),
            moderation: Moderation::default(),
        }
    }
}

impl Default for Moderation {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            key: None,
            timeout: Duration::from_secs(5),
            response_max_bytes: 16 << 10,
            concurrency: 16,
        }
    }
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self {
            claim_lease: Duration::from_secs(60),
            concurrency: 64,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            lookup_delay: Duration::from_secs(10),
            circuit_open: Duration::from_secs(60),
            off_peak: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            generation_max: 0,
            unknown_max: 0,
            backoff_base: Duration::from_secs(30),
            backoff_cap: Duration::from_secs(1_800),
        }
    }
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            max_age: 30 * DAY,
            wait_max: Duration::from_secs(6 * 3_600),
        }
    }
}

impl Default for Reconciler {
    fn default() -> Self {
        Self {
            sweep_every: Duration::from_secs(30),
            quiet_after: Duration::from_secs(300),
            quiet_after_avatar: Duration::from_secs(1_800),
            stalled_after: Duration::from_secs(600),
            queries_per_second: 1,
            concurrency: 16,
            audit_every: DAY,
            audit_lag: Duration::from_secs(12 * 3_600),
        }
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            ack_wait: Duration::from_secs(30),
            in_flight_max: 64,
            attempts_max: 20,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            tasks: 35 * DAY,
            ledger: 400 * DAY,
        }
    }
}
