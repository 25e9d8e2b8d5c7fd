//! Serves a store without a cluster on a loopback port, to try clients on: `cargo run --example fake -- 2379`.

use server::{
    api::{Limits, app, serve},
    fake::Fake,
};
use std::{error::Error, net::Ipv4Addr, sync::Arc};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).as_deref().unwrap_or("2379").parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on {}", listener.local_addr()?);
    let app = app(Fake::new(), Limits::default(), Arc::default());
    serve(listener, app, async {
        tokio::signal::ctrl_c().await.unwrap_or_else(|error| eprintln!("no signals: {error}"));
    })
    .await;
    Ok(())
}
