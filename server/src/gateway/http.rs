//! Finds what an HTTP request asks for, and words the answer.

use super::{
    exposition, json,
    routes::{self, Answer},
    streams,
};
use crate::{
    api::{self, Api, CLUSTER_VERSION, ETCD_VERSION, METHODS, MethodCounters, status},
    backend::Backend,
    health::{self, Check},
    metrics::{Counter, Metrics},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Body;
use std::{error::Error, fmt::Write as _, sync::Arc};
use tonic::{Code, Status};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Prometheus' text format.
const EXPOSITION: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// JSON says the same with more bytes: a body may be this many times larger than a message.
const JSON_FACTOR: usize = 4;

/// Answers everything on the client port that is not gRPC.
#[derive(Debug)]
pub struct Gateway<B> {
    api: Arc<Api<B>>,
    metrics: Arc<Metrics>,
    healthy: Counter,
    unhealthy: Counter,
}

impl<B: Backend> Gateway<B> {
    /// A gateway to the operations of `api`.
    pub fn new(api: Arc<Api<B>>, metrics: Arc<Metrics>) -> Gateway<B> {
        Gateway { api, metrics, healthy: Counter::default(), unhealthy: Counter::default() }
    }

    /// Answers one request; every failure is an answer too. Calls are counted like their gRPC siblings.
    pub async fn handle<R>(&self, request: Request<R>, counters: &Arc<MethodCounters>) -> Response<api::Body>
    where
        R: Body<Data = Bytes>,
        R::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut response = if request.method() == Method::OPTIONS {
            whole(Response::default())
        } else {
            self.find(request, counters).await
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept, content-type, authorization"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE"),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn find<R>(&self, request: Request<R>, counters: &Arc<MethodCounters>) -> Response<api::Body>
    where
        R: Body<Data = Bytes>,
        R::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Some(below) = path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/")) {
            return self.rpc(&head.method, below, body, counters).await;
        }
        if path == "/metrics" {
            let health = [self.healthy.get(), self.unhealthy.get()];
            let text = exposition::render(
                self.api.backend(),
                &self.metrics,
                counters,
                health,
                self.api.limits().quota_bytes,
            );
            return whole(reply(StatusCode::OK, EXPOSITION, text));
        }
        whole(self.page(&head.method, path, head.uri.query().unwrap_or_default()).await)
    }

    async fn rpc<R>(
        &self,
        method: &Method,
        path: &str,
        body: R,
        counters: &Arc<MethodCounters>,
    ) -> Response<api::Body>
    where
        R: Body<Data = Bytes>,
        R::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Some((route, at)) = routes::find(path) else {
            return whole(refuse(StatusCode::NOT_FOUND, Code::NotFound, "Not Found"));
        };
        if method != Method::POST {
            return whole(refuse(StatusCode::NOT_IMPLEMENTED, Code::Unimplemented, "Method Not Allowed"));
        }
        let mut call = counters.start(at);
        counters.add_received(at, 1);
        let called = match self.api.admit(&METHODS[at]) {
            Ok(()) => self.call(route, body).await,
            Err(error) => Err(error.into()),
        };
        match called {
            Ok(answer) => {
                call.code = Code::Ok;
                let mut response = match answer {
                    Answer::Whole(body) => {
                        call.add_sent(1);
                        whole(reply(StatusCode::OK, JSON, body))
                    }
                    Answer::Lines(lines) => {
                        let lines = lines.inspect(move |_| call.add_sent(1));
                        Response::new(Either::Left(streams::body(Box::pin(lines))))
                    }
                };
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            }
            Err(status) => {
                call.code = status.code();
                whole(refuse(status::http_status(status.code()), status.code(), status.message()))
            }
        }
    }

    async fn call<R>(&self, route: routes::Route, body: R) -> Result<Answer, Status>
    where
        R: Body<Data = Bytes>,
        R::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limit = self.api.limits().max_message_bytes().saturating_mul(JSON_FACTOR);
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Status::resource_exhausted(format!("the body is larger than {limit} bytes"))
            } else {
                Status::invalid_argument(error.to_string())
            }
        })?;
        routes::call(&self.api, route, &body.to_bytes()).await
    }

    async fn page(&self, method: &Method, path: &str, query: &str) -> Response<Full<Bytes>> {
        let Some(page) = Page::find(path) else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if method != Method::GET {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        match page {
            Page::Health => self.health(query).await,
            Page::Version => {
                let body = format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{CLUSTER_VERSION}"}}"#);
                reply(StatusCode::OK, JSON, body)
            }
            Page::Probe(checks) => self.probe(checks, query).await,
        }
    }

    async fn health(&self, query: &str) -> Response<Full<Bytes>> {
        let serializable = has(query, "serializable", "true");
        let (status, healthy, reason) =
            match health::health(&self.api, serializable, |kind| has(query, "exclude", kind)).await {
                Ok(()) => (StatusCode::OK, "true", String::new()),
                Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, "false", reason),
            };
        if status == StatusCode::OK { &self.healthy } else { &self.unhealthy }.inc();
        reply(status, TEXT, serde_json::json!({ "health": healthy, "reason": reason }).to_string())
    }

    /// `verbose` lists the checks, `exclude=NAME` leaves one out. What failed is always listed.
    async fn probe(&self, checks: &[Check], query: &str) -> Response<Full<Bytes>> {
        let verbose = query.split('&').any(|pair| pair.split('=').next() == Some("verbose"));
        let mut report = String::new();
        let mut ok = true;
        for check in checks.iter().filter(|check| !has(query, "exclude", check.name())) {
            let name = check.name();
            let line = match check.run(&self.api).await {
                Ok(()) => writeln!(report, "[+]{name} ok"),
                Err(why) => {
                    ok = false;
                    writeln!(report, "[-]{name} failed: {why}")
                }
            };
            line.expect("a string takes any text");
        }
        match (ok, verbose) {
            (true, true) => text(StatusCode::OK, report + "ok\n"),
            (true, false) => text(StatusCode::OK, "ok\n"),
            (false, _) => text(StatusCode::SERVICE_UNAVAILABLE, report),
        }
    }
}

/// A page that is read, not called.
enum Page {
    Health,
    Version,
    /// Makes checks: all of `/livez` or `/readyz`, or the one that the path names.
    Probe(&'static [Check]),
}

impl Page {
    fn find(path: &str) -> Option<Page> {
        let (all, rest) = match path {
            "/health" => return Some(Page::Health),
            "/version" => return Some(Page::Version),
            path => match path.strip_prefix("/livez") {
                Some(rest) => (health::LIVE, rest),
                None => (health::READY, path.strip_prefix("/readyz")?),
            },
        };
        if rest.is_empty() {
            return Some(Page::Probe(all));
        }
        let name = rest.strip_prefix('/')?;
        let at = all.iter().position(|check| check.name() == name)?;
        Some(Page::Probe(&all[at..=at]))
    }
}

/// Whether the query has the parameter with this value.
fn has(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=') == Some((name, value)))
}

/// An answer that comes in one piece.
fn whole(response: Response<Full<Bytes>>) -> Response<api::Body> {
    response.map(Either::Right)
}

fn refuse(http: StatusCode, code: Code, message: &str) -> Response<Full<Bytes>> {
    reply(http, JSON, json::refusal(code, message))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = reply(status, TEXT, body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn reply(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
