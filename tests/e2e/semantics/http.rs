//! What is asked of a store over HTTP/1.1.

use crate::transcript::PATIENCE;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::handshake,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The head of an answer, and a body that comes as it comes.
pub struct Answer {
    head: Response<()>,
    body: Incoming,
    unread: Vec<u8>,
}

impl Answer {
    /// Asks.
    pub async fn of(endpoint: &str, method: &str, path: &str, body: &str) -> Answer {
        let address = endpoint.trim_start_matches("http://");
        let socket = TcpStream::connect(address).await.expect("the store accepts");
        let (mut sender, connection) = handshake(TokioIo::new(socket)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "store");
        let request = request.body(Full::<Bytes>::from(body.to_string())).expect("a request");
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("in time");
        let (head, body) = answer.expect("an answer").into_parts();
        Answer { head: Response::from_parts(head, ()), body, unread: Vec::new() }
    }

    /// The code, and what the body is if there is one.
    pub fn head(&self) -> String {
        let code = self.head.status().as_u16();
        self.field("content-type").map_or(code.to_string(), |kind| format!("{code} {kind}"))
    }

    /// A field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name)?.to_str().ok()
    }

    /// The whole body.
    pub async fn text(mut self) -> String {
        while self.more().await {}
        String::from_utf8(self.unread).expect("UTF-8")
    }

    /// The next line of the body; `None` if it ends before.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8(line).expect("UTF-8").trim_end().to_string());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("more in time");
        let Some(frame) = frame else { return false };
        let data: Bytes = frame.expect("a frame").into_data().unwrap_or_default();
        self.unread.extend_from_slice(&data);
        true
    }
}
