//! The addresses, and who may ask.

use super::{
    compare::compare,
    files,
    index::{Filter, frame, index},
    scan::Store,
};
use axum::{
    Router,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use maud::html;
use serde::Deserialize;
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::Path as FilePath,
    sync::Arc,
};
use tokio::net::TcpListener;

/// A store that is being served.
pub struct Served {
    listener: TcpListener,
    /// Where.
    pub address: SocketAddr,
    router: Router,
}

/// Gets everything ready to serve the runs in the folder `store` at `address`.
///
/// # Errors
/// A text for the user: there is no such folder, or the address is not to be had.
pub async fn serve(store: &FilePath, address: SocketAddr) -> Result<Served, String> {
    let opened = Store::open(store).map_err(|error| {
        format!(
            "{}: {error}; name the folder that holds runs, which `assay run` makes as ./store",
            store.display()
        )
    })?;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("--listen {address}: {error}; choose another port, or 0 for any that is free")
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let router = Router::new()
        .route("/", get(runs))
        .route("/api/runs", get(runs_json))
        .route("/compare", get(compare_two))
        // Browsers ask for it beside a file that is no page of ours, such as results.json.
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/files", get(|| async { Redirect::permanent("/files/") }))
        .route("/files/", get(root))
        .route("/files/{*path}", get(file))
        .route("/download/{*path}", get(download))
        .fallback(|| async { not_found("there is no such page") })
        .layer(from_fn_with_state(address.ip(), only_for_this_host))
        .with_state(Arc::new(opened));
    Ok(Served { listener, address, router })
}

impl Served {
    /// Answers until `stop` completes.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(stop).await
    }
}

/// On a loopback address, only pages of this host may ask: another site's page, whose name was made to lead here,
/// sends its own name (DNS rebinding).
async fn only_for_this_host(State(ip): State<IpAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if ip.is_loopback() && !is_this_host(host) {
        return files::page(
            StatusCode::FORBIDDEN,
            frame("assay", &html! { p { "This store is for this machine only." } }),
        );
    }
    next.run(request).await
}

fn is_this_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn runs(State(store): State<Arc<Store>>, Query(filter): Query<Filter>) -> Response {
    blocking(move || Ok(files::page(StatusCode::OK, index(&store.runs(), &filter)))).await
}

async fn runs_json(State(store): State<Arc<Store>>) -> Response {
    blocking(move || {
        let runs = store.runs();
        let json = serde_json::to_string(&runs.iter().map(|run| &**run).collect::<Vec<_>>())?;
        Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
    })
    .await
}

/// Folders of the runs to compare.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Two {
    a: String,
    b: String,
}

async fn compare_two(State(store): State<Arc<Store>>, Query(two): Query<Two>) -> Response {
    if two.a.is_empty() || two.b.is_empty() {
        return not_found("choose a run as A and another as B, then compare");
    }
    blocking(move || {
        let (a, b) = (store.results(&two.a)?, store.results(&two.b)?);
        Ok(files::page(StatusCode::OK, compare((&two.a, &a), (&two.b, &b))))
    })
    .await
}

async fn root(State(store): State<Arc<Store>>) -> Response {
    blocking(move || files::file(&store, "")).await
}

async fn file(State(store): State<Arc<Store>>, Path(path): Path<String>) -> Response {
    blocking(move || files::file(&store, &path)).await
}

async fn download(State(store): State<Arc<Store>>, Path(path): Path<String>) -> Response {
    blocking(move || files::archive(&store, &path)).await
}

/// Reads files where that holds nobody up.
async fn blocking(work: impl FnOnce() -> io::Result<Response> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => not_found(&error.to_string()),
        Err(error) => files::page(
            StatusCode::INTERNAL_SERVER_ERROR,
            frame("assay", &html! { p { "This page could not be made: " (error) } }),
        ),
    }
}

fn not_found(why: &str) -> Response {
    let body = html! { p { a href="/" { "all runs" } } p { (why) } };
    files::page(StatusCode::NOT_FOUND, frame("assay: not found", &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_this_host() {
        for (host, is) in [
            ("localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("10.0.0.1:8080", false),
            ("", false),
        ] {
            assert_eq!(is_this_host(host), is, "{host}");
        }
    }
}
