// Tokio's side of W8 and W15: echo, a task per connection; the first 4 bytes of a message (little endian) are a number
// of nanoseconds to compute for before the answer.
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MESSAGE_BYTES: usize = 64;

fn burn(message: &[u8]) {
    let nanoseconds = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
    if nanoseconds == 0 {
        return;
    }
    let end = Instant::now() + Duration::from_nanos(nanoseconds.into());
    while Instant::now() < end {}
}

async fn echo(mut stream: TcpStream) {
    let mut message = [0u8; 1024];
    while let Ok(count) = stream.read(&mut message).await {
        if count == 0 {
            return;
        }
        if count >= MESSAGE_BYTES {
            burn(&message);
        }
        if stream.write_all(&message[..count]).await.is_err() {
            return;
        }
    }
}

fn main() {
    let listener = net::listen();
    net::runtime().block_on(async {
        let serve = tokio::spawn(async {
            let listener = TcpListener::from_std(listener).expect("listener");
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).ok();
                    tokio::spawn(echo(stream));
                }
            }
        });
        serve.await.ok();
    });
}
