//! The listeners and the list of routes.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::util::MapResult;

use super::catalogue::{PRODUCTS, Product, RETIRED_PATHS, Standard};
use super::config::SimConfig;
use super::reply::{self, Cut, Refusal};
use super::state::State;
use super::{SimError, account, auth, cdn, clock, create, panel, query, signature};

/// Largest request: a Base64 image may have 50 MB.
///
/// Source: platform reference 2.3.
const BODY_MAX_BYTES: usize = 80 << 20;

/// What every handler shares.
pub(super) struct Sim {
    pub(super) config: SimConfig,
    pub(super) base_url: String,
    pub(super) ca_pem: String,
    pub(super) cdn_key: Vec<u8>,
    pub(super) started_ms: i64,
    pub(super) stopping: CancellationToken,
    pub(super) poster: reqwest::Client,
    pub(super) posting: Semaphore,
    state: Mutex<State>,
}

impl Sim {
    /// A platform at `base_url` with an empty account.
    pub(super) fn new(
        config: SimConfig,
        base_url: String,
        ca_pem: String,
    ) -> Result<Self, SimError> {
        if let Some(secret) = config
            .webhook_secrets
            .iter()
            .find(|s| signature::key(s).is_none())
        {
            return Err(SimError::Secret(secret.len()));
        }
        config.faults.check().map_err(SimError::Tag)?;
        let mut poster = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.callbacks.timeout)
            .pool_max_idle_per_host(config.callbacks.max_in_flight);
        if let Some(pem) = &config.callback_ca_pem {
            let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            poster = poster.tls_certs_merge(roots.map_err(SimError::Client)?);
        }
        Ok(Self {
            base_url,
            ca_pem,
            cdn_key: signature::hmac(b"cdn", &[&config.seed.to_be_bytes()]),
            started_ms: clock::now_ms(),
            stopping: CancellationToken::new(),
            poster: poster.build().map_err(SimError::Client)?,
            posting: Semaphore::new(config.callbacks.max_in_flight.max(1)),
            state: Mutex::new(State::new(&config)),
            config,
        })
    }

    /// The account. The lock is never held across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every API call passes: an outage, then authentication. Answers the key's name.
    pub(super) fn gate(&self, headers: &HeaderMap, standard: Standard) -> Result<String, Refusal> {
        if let Some(code) = self.state().plan.outage {
            return Err(Refusal::of(code));
        }
        auth::check(&self.config, headers, standard, clock::now_s()).inspect_err(|_| {
            self.state().stats.unauthorized += 1;
        })
    }
}

/// Every route of the platform and of the simulator's own panel.
pub(super) fn router(sim: Arc<Sim>) -> Router {
    let mut router = Router::new()
        .route("/tasks", get(query::by_id).post(query::by_cursor))
        .route("/account/costs", get(account::costs))
        .route("/account/billing/package", post(account::package_ledger))
        .route("/account/billing/balance", post(account::balance_ledger))
        .route("/cdn/{*path}", get(cdn::download));
    for product in PRODUCTS {
        router = product_routes(router, product);
    }
    for path in RETIRED_PATHS {
        router = router.route(path, post(retired));
    }
    router
        .merge(panel::routes())
        .fallback(async || reply::not_found_page())
        .method_not_allowed_fallback(async || Refusal::of(1202))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(sim)
}

fn product_routes(router: Router<Arc<Sim>>, product: &'static Product) -> Router<Arc<Sim>> {
    let mut router = router;
    if let Some((path, _)) = product.new {
        let handler =
            move |Shared(sim): Shared<Arc<Sim>>,
                  Path(model): Path<String>,
                  headers: HeaderMap,
                  body: Bytes| create::create(sim, product, Some(model), headers, body);
        router = router.route(&format!("{path}/{{model}}"), post(handler));
    }
    let created = move |Shared(sim): Shared<Arc<Sim>>, headers: HeaderMap, body: Bytes| {
        create::create(sim, product, None, headers, body)
    };
    let list = move |Shared(sim): Shared<Arc<Sim>>, query, headers: HeaderMap| {
        query::legacy_list(sim, product, query, headers)
    };
    let single = move |Shared(sim): Shared<Arc<Sim>>, id, headers: HeaderMap| {
        query::legacy_single(sim, product, id, headers)
    };
    router
        .route(product.legacy_path, post(created).get(list))
        .route(&format!("{}/{{id}}", product.legacy_path), get(single))
}

/// Source: platform reference 2.1 (retired endpoints).
async fn retired(Shared(sim): Shared<Arc<Sim>>, headers: HeaderMap) -> Response {
    match sim.gate(&headers, Standard::Legacy) {
        Ok(_) => Refusal::new(1201, "This API is no longer available").into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// A response that was marked as cut; reaching hyper as an error, it ends the connection.
#[derive(Debug, thiserror::Error)]
#[error("connection cut by the simulator")]
struct CutConnection;

impl From<Infallible> for CutConnection {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A running listener.
pub(super) struct Listener {
    pub(super) handle: Handle<SocketAddr>,
    pub(super) serving: JoinHandle<std::io::Result<()>>,
}

/// Binds a listener for [`serve`].
pub(super) fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SimError> {
    let listen = |source| SimError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    Ok((listener, local))
}

/// Serves the platform on a bound listener, with or without TLS.
pub(super) fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> std::io::Result<Listener> {
    let service = MapResult::new(
        router,
        |result: Result<Response, Infallible>| match result {
            Ok(response) if response.extensions().get::<Cut>().is_some() => Err(CutConnection),
            Ok(response) => Ok(response),
            Err(never) => match never {},
        },
    );
    let make = tower::service_fn(move |_: SocketAddr| {
        std::future::ready(Ok::<_, Infallible>(service.clone()))
    });
    let handle = Handle::new();
    let serving = match tls {
        Some(tls) => {
            let config = RustlsConfig::from_config(tls);
            let server = axum_server::from_tcp_rustls(listener, config)?.handle(handle.clone());
            tokio::spawn(server.serve(make))
        }
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle.clone());
            tokio::spawn(server.serve(make))
        }
    };
    Ok(Listener { handle, serving })
}
