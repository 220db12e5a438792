//! The routes for operators.

mod builder;
mod checklist;
mod handlers;
mod problem;
mod shown;

use std::{fmt, future::Future, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};

pub use self::builder::AdminBuilder;
pub(crate) use self::{problem::Problem, shown::timestamp};
use crate::{
    Inventory,
    actions::Actions,
    events::{Boot, Clients},
    guard::{self, Guard},
};

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 16 * 1024;

/// The routes for operators: see the [crate's documentation](crate#routes).
///
/// ```
/// use std::net::SocketAddr;
///
/// use backstop_admin::{Admin, Inventory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let token = "0123456789abcdef0123456789abcdef";
/// let address = SocketAddr::from(([127, 0, 0, 1], 9000));
/// let admin = Admin::builder(Inventory::new()).address(address).token("ada", token).build()?;
/// // Only you spawn tasks.
/// tokio::spawn(admin.run());
/// let router = admin.router();
/// // axum::serve(TcpListener::bind(address).await?, router).await?;
/// # let request = http::Request::get("/actions").header("host", "localhost:9000");
/// # let request = request.header("authorization", format!("Bearer {token}")).body(axum::body::Body::empty())?;
/// # assert_eq!(tower::ServiceExt::oneshot(router, request).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
///
/// Clones share everything.
#[derive(Clone)]
pub struct Admin(Arc<Shared>);

struct Shared {
    inventory: Arc<Inventory>,
    actions: Arc<Actions>,
    boot: Boot,
    clients: Clients,
    guard: Guard,
}

impl Admin {
    /// Builds the routes for the components of `inventory`.
    pub fn builder(inventory: Inventory) -> AdminBuilder {
        AdminBuilder::new(inventory)
    }

    /// Returns a future that ends the effects of actions when their time is over. Spawn it.
    ///
    /// While none of these futures exists, an action with such an effect is refused. Times are kept in memory: a process that
    /// ends takes them with it, together with the effects, which are this instance's.
    ///
    /// If an ending fails, it is tried again every 10 s. It may take 10 s, and others wait for it so long. A panic of a
    /// component's operation ends the future.
    ///
    /// # Cancellation
    /// Dropping it leaves effects as they are, until [`run`](Self::run) is called again.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.0.actions).end_effects()
    }

    /// The routes, behind the guard.
    pub fn router(&self) -> Router {
        self.router_with(Router::new())
    }

    /// The same, and `others` behind the same guard. A path that `others` has is theirs.
    ///
    /// Their reads and writes need what ours [need](crate#who-may-use-them). Their own fallback is replaced. Bodies of more than
    /// 16 KiB are refused.
    pub fn router_with(&self, others: Router) -> Router {
        let ours = Router::new()
            .route("/dependencies", get(handlers::dependencies))
            .route("/audit", get(handlers::audit))
            .route("/actions", get(handlers::actions))
            .route("/events", get(handlers::events))
            .route("/{collection}", get(handlers::list))
            .route("/{collection}/{name}", get(handlers::show).post(handlers::act))
            .fallback(handlers::not_found)
            .method_not_allowed_fallback(handlers::method_not_allowed)
            .with_state(self.clone());
        others
            .fallback_service(ours)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            // Outermost, so that a stranger doesn't even get a 404.
            .layer(middleware::from_fn_with_state(self.0.guard.clone(), guard::check))
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("inventory", &self.0.inventory).finish_non_exhaustive()
    }
}
