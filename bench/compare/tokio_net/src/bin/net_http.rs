// Tokio's side of W9: "Hello, world" with hyper.
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Body, Request, Response};
use std::convert::Infallible;
use tokio::net::TcpListener;

async fn hello(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut response = Response::new(Body::from("Hello, world!\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn main() {
    let listener = net::listen();
    net::runtime().block_on(async {
        let serve = tokio::spawn(async {
            let listener = TcpListener::from_std(listener).expect("listener");
            let http = hyper::server::conn::Http::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).ok();
                    tokio::spawn(http.serve_connection(stream, service_fn(hello)));
                }
            }
        });
        serve.await.ok();
    });
}
