//! A TCP proxy in front of a member's peer port that counts what it lets through and cuts every connection when told to,
//! or after so many bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Forwards until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    forwarded: Arc<AtomicU64>,
    /// Past so many bytes to the member, all connections are cut and new ones refused, until it is healed.
    limit: Arc<AtomicU64>,
    /// So many milliseconds pass before the member's first bytes on a connection come through.
    slow: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of `target`, without a limit.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (forwarded, limit) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let (counter, bound) = (Arc::clone(&forwarded), Arc::clone(&limit));
        let slow = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&slow);
        let task = tokio::spawn(async move {
            let cut = Arc::new(std::sync::Mutex::new(CancellationToken::new()));
            while let Ok((inward, _)) = listener.accept().await {
                if counter.load(Ordering::SeqCst) >= bound.load(Ordering::SeqCst) {
                    continue;
                }
                let mut token = cut.lock().unwrap();
                if token.is_cancelled() {
                    *token = CancellationToken::new();
                }
                let (token, counter, bound) = (token.clone(), Arc::clone(&counter), Arc::clone(&bound));
                let delay = Duration::from_millis(delay.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    let Ok(outward) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        () = forward(inward, outward, delay, &counter, &bound) => {}
                        () = token.cancelled() => {}
                    }
                    if counter.load(Ordering::SeqCst) >= bound.load(Ordering::SeqCst) {
                        token.cancel();
                    }
                });
            }
        });
        Self { address, forwarded, limit, slow, task }
    }

    /// Bytes that reached the member so far.
    pub fn forwarded(&self) -> u64 {
        self.forwarded.load(Ordering::SeqCst)
    }

    /// Cuts every connection after so many more bytes.
    pub fn cut_after(&self, bytes: u64) {
        self.limit.store(self.forwarded() + bytes, Ordering::SeqCst);
    }

    /// Whether the limit was reached.
    pub fn is_cut(&self) -> bool {
        self.forwarded() >= self.limit.load(Ordering::SeqCst)
    }

    /// From now on each new connection waits so long for the member's first bytes.
    pub fn slow_down(&self, by: Duration) {
        self.slow.store(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        self.limit.store(u64::MAX, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies both ways until one side ends or the limit is passed.
async fn forward(inward: TcpStream, outward: TcpStream, delay: Duration, counter: &AtomicU64, bound: &AtomicU64) {
    let (mut client, mut to_client) = inward.into_split();
    let (mut member, mut to_member) = outward.into_split();
    let there = async {
        let mut buffer = vec![0; 16 * 1_024];
        while let Ok(read @ 1..) = client.read(&mut buffer).await {
            if counter.fetch_add(read as u64, Ordering::SeqCst) + read as u64 >= bound.load(Ordering::SeqCst) {
                return;
            }
            if to_member.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        member.readable().await.unwrap();
        // Time that passes is what is injected here.
        let by = tokio::time::Instant::now() + delay;
        while tokio::time::Instant::now() < by {
            tokio::time::sleep_until(by).await;
        }
        tokio::io::copy(&mut member, &mut to_client).await.map(drop)
    };
    tokio::select! {
        () = there => {}
        _ = back => {}
    }
}
