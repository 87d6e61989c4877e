// Tokio's side of W17, W18 and W19: hyper, with TLS by rustls or by OpenSSL.
//
//   web --certificate FILE --key FILE --files FOLDER [--workers N] [--tls rustls|openssl]
//
// Prints "listening on 127.0.0.1:P" and "TLS on 127.0.0.1:Q".
use hyper::header::{HeaderValue, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::Http;
use hyper::service::service_fn;
use hyper::{Body, Request, Response, StatusCode};
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod, SslMode};
use std::io::{BufReader, Error, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_openssl::SslStream;
use tokio_rustls::rustls::{Certificate, PrivateKey, ServerConfig, Ticketer};
use tokio_rustls::TlsAcceptor;
use tokio_util::io::ReaderStream;

const KIB: &[u8] = &[b'x'; 1024];
const FILE_PIECE: usize = 64 * 1024;

fn argument(name: &str) -> Option<String> {
    let arguments: Vec<String> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == name);
    place.and_then(|i| arguments.get(i + 1)).cloned()
}

fn plain(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

// Nothing else than one file's name below the folder.
async fn file(name: &str, folder: &PathBuf) -> Result<Response<Body>, Error> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Ok(not_found());
    }
    let file = match tokio::fs::File::open(folder.join(name)).await {
        Ok(file) => file,
        Err(_) => return Ok(not_found()),
    };
    let length = file.metadata().await?.len();
    let body = Body::wrap_stream(ReaderStream::with_capacity(file, FILE_PIECE));
    let mut response = plain(body, "application/octet-stream");
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

async fn answer(request: Request<Body>, folder: Arc<PathBuf>) -> Result<Response<Body>, Error> {
    match request.uri().path() {
        "/" => Ok(plain(Body::from("Hello, world!\n"), "text/plain")),
        "/kib" => Ok(plain(Body::from(KIB), "text/plain")),
        path => match path.strip_prefix("/files/") {
            Some(name) => file(name, &folder).await,
            None => Ok(not_found()),
        },
    }
}

async fn converse<S>(stream: S, folder: Arc<PathBuf>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, folder.clone()));
    Http::new().serve_connection(stream, service).await.ok();
}

#[derive(Clone)]
enum Tls {
    None,
    Rustls(TlsAcceptor),
    OpenSsl(SslAcceptor),
}

fn tls() -> Tls {
    match argument("--tls").as_deref() {
        None | Some("rustls") => Tls::Rustls(rustls()),
        Some("openssl") => Tls::OpenSsl(openssl()),
        Some(other) => panic!("--tls {}", other),
    }
}

fn openssl() -> SslAcceptor {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("OpenSSL");
    let path = |name| argument(name).expect(name);
    builder.set_certificate_chain_file(path("--certificate")).expect("certificate");
    builder.set_private_key_file(path("--key"), SslFiletype::PEM).expect("key");
    builder.set_session_id_context(b"web").expect("session id context");
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    builder.build()
}

fn rustls() -> TlsAcceptor {
    let open = |name| {
        let path = argument(name).expect(name);
        BufReader::new(std::fs::File::open(path).expect(name))
    };
    let certificates = rustls_pemfile::certs(&mut open("--certificate")).expect("certificate");
    let key = rustls_pemfile::pkcs8_private_keys(&mut open("--key")).expect("key").remove(0);
    let mut config = ServerConfig::builder()
        .with_safe_defaults()
        .with_no_client_auth()
        .with_single_cert(certificates.into_iter().map(Certificate).collect(), PrivateKey(key))
        .expect("certificate and key");
    config.ticketer = Ticketer::new().expect("tickets");
    TlsAcceptor::from(Arc::new(config))
}

fn listen(what: &str) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    println!("{} on {}", what, listener.local_addr().expect("address"));
    std::io::stdout().flush().expect("stdout");
    listener.set_nonblocking(true).expect("nonblocking");
    listener
}

async fn accept(listener: std::net::TcpListener, tls: Tls, folder: Arc<PathBuf>) {
    let listener = TcpListener::from_std(listener).expect("listener");
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let folder = folder.clone();
            match tls.clone() {
                Tls::None => tokio::spawn(converse(stream, folder)),
                Tls::Rustls(acceptor) => tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, folder).await;
                    }
                }),
                Tls::OpenSsl(acceptor) => tokio::spawn(async move {
                    let ssl = Ssl::new(acceptor.context()).expect("SSL");
                    let mut stream = SslStream::new(ssl, stream).expect("SSL");
                    if Pin::new(&mut stream).accept().await.is_ok() {
                        converse(stream, folder).await;
                    }
                }),
            };
        }
    }
}

fn main() {
    let workers = argument("--workers").and_then(|n| n.parse().ok()).unwrap_or(1);
    let folder = Arc::new(PathBuf::from(argument("--files").expect("--files")));
    let tls = tls();
    let listeners = (listen("listening"), listen("TLS"));
    let mut builder = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = builder.worker_threads(workers).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let plain = tokio::spawn(accept(listeners.0, Tls::None, folder.clone()));
        tokio::spawn(accept(listeners.1, tls, folder)).await.ok();
        plain.await.ok();
    });
}
