//! Pages in axum's handlers, whose futures go from thread to thread, and borrow.

use std::{io, sync::Arc};

use axum::{Router, body::Body, extract::State, http::Request, routing::get};
use backstop_partial::{Aggregate, Page, RequiredPartFailed, name, part};
use tower::ServiceExt;

use crate::common::dashboard;

struct App {
    dashboard: Aggregate,
    users: Vec<String>,
}

impl App {
    async fn user(&self, index: usize) -> Result<&str, io::Error> {
        self.users.get(index).map(String::as_str).ok_or(io::ErrorKind::NotFound.into())
    }

    async fn names<'a>(&'a self, wanted: &'a [usize]) -> Result<Vec<&'a str>, &'static str> {
        tokio::task::yield_now().await;
        wanted.iter().map(|index| self.user_name(*index)).collect()
    }

    fn user_name(&self, index: usize) -> Result<&str, &'static str> {
        self.users.get(index).map(String::as_str).ok_or("nobody")
    }

    /// The page, in a function of its own.
    async fn page(&self, wanted: &[usize]) -> Result<Page<String>, RequiredPartFailed> {
        let parts = (
            part(name!("user"), self.user(0)).required(),
            part(name!("names"), self.names(wanted)).or_default(),
            part(name!("all"), async { Ok::<_, &'static str>(self.names(wanted).await?.len()) }).optional(),
        );
        Ok(self.dashboard.gather(parts).await?.map(|(user, names, all)| format!("{user} {names:?} {all:?}")))
    }
}

async fn in_a_handler(State(app): State<Arc<App>>) -> Result<String, String> {
    let wanted = vec![1, 0];
    let items = app.dashboard.gather_all(wanted.iter().map(|i| part(name!("item"), app.user(*i)).optional())).await;
    let items = items.map_err(|failed| failed.to_string())?.map(|items| items.len());
    Ok(format!("{} of {}", app.page(&wanted).await.map_err(|failed| failed.to_string())?.data(), items.data()))
}

#[tokio::test]
async fn a_page_may_borrow_in_a_handler() {
    let app = App { dashboard: dashboard(), users: vec!["ada".into(), "grace".into()] };
    let router: Router = Router::new().route("/", get(in_a_handler)).with_state(Arc::new(app));
    let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(body, r#"ada ["grace", "ada"] Some(2) of 2"#);
}
