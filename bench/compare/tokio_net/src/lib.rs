// What the programs share: the number of workers, the runtime, the listener.
use std::io::Write;

pub fn workers() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == "--workers");
    place.and_then(|i| arguments.get(i + 1)).and_then(|n| n.parse().ok()).unwrap_or(1)
}

// One worker is Tokio's single-threaded runtime, which has no cost of sharing.
pub fn runtime() -> tokio::runtime::Runtime {
    let count = workers();
    let mut builder = if count == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(count).enable_all().build().expect("runtime")
}

pub fn listen() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    println!("listening on {}", listener.local_addr().expect("address"));
    std::io::stdout().flush().expect("stdout");
    listener.set_nonblocking(true).expect("nonblocking");
    listener
}
