//! A connection to a store's JSON gateway.

use super::call::Said;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A connection, made anew where the last one has ended.
pub struct Http {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    /// To the store at this URL.
    pub fn to(endpoint: &str) -> Http {
        Http { address: endpoint.trim_start_matches("http://").to_string(), sender: None }
    }

    /// Posts a request, and makes of the answer what gRPC would have said.
    pub async fn call(&mut self, path: &str, body: String, token: Option<&str>) -> Said {
        let answer = self.post(path, body, token).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        match (answer.get("code").and_then(Value::as_i64), answer.get("message").and_then(Value::as_str)) {
            (Some(code), Some(message)) => {
                Said::No(i32::try_from(code).expect("a small number"), message.to_string())
            }
            _ => Said::Yes(answer),
        }
    }

    async fn post(&mut self, path: &str, body: String, token: Option<&str>) -> Result<Value, String> {
        let sender = self.sender().await?;
        let mut request = Request::builder().method(Method::POST).uri(path).header(header::HOST, "store");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, String> {
        let stands = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !stands {
            let socket = TcpStream::connect(&self.address).await.map_err(|error| error.to_string())?;
            socket.set_nodelay(true).map_err(|error| error.to_string())?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut().ok_or_else(|| "no connection".to_string())
    }
}
