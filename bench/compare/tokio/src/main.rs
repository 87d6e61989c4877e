//! What: the compute questions of the comparison (../../questions.py) on Tokio's multi-thread runtime; called
//! and answering as ../../support.hpp says. W12 uses async-channel, as Tokio's own channels have one
//! consumer.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch, Mutex};
use tokio::task::JoinHandle;

/// As in ../../support.hpp.
struct Answer {
    value: f64,
    cpu: f64,
    check: i64,
    extra: String,
}

struct Stopwatch {
    start: Instant,
    cpu_ns: f64,
}

fn cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

impl Stopwatch {
    fn new() -> Self {
        Stopwatch { start: Instant::now(), cpu_ns: cpu_ns() }
    }
    fn wall_ns(&self) -> f64 {
        self.start.elapsed().as_nanos() as f64
    }
    fn cpu_ns(&self) -> f64 {
        cpu_ns() - self.cpu_ns
    }
    fn per_unit(&self, units: f64, check: i64) -> Answer {
        Answer { value: self.wall_ns() / units, cpu: self.cpu_ns() / units, check, extra: String::new() }
    }
    fn in_ms(&self, check: i64) -> Answer {
        self.per_unit(1e6, check)
    }
}

fn pair(name: &str, value: f64) -> String {
    format!(", \"{}\": {:.6}", name, value)
}

async fn sum_of(tasks: Vec<JoinHandle<i64>>) -> i64 {
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    sum
}

async fn spawn_and_join(rounds: i64) -> Answer {
    const TASKS: i64 = 100;
    let mut joined = 0;
    let mut tasks = Vec::with_capacity(TASKS as usize);
    let watch = Stopwatch::new();
    for _ in 0..rounds {
        for _ in 0..TASKS {
            tasks.push(tokio::spawn(async {}));
        }
        for task in tasks.drain(..) {
            task.await.unwrap();
            joined += 1;
        }
    }
    watch.per_unit((rounds * TASKS) as f64, joined)
}

async fn yields(count: i64, each: i64) -> Answer {
    let watch = Stopwatch::new();
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while done < each {
                tokio::task::yield_now().await;
                done += 1;
            }
            done
        }));
    }
    let total = sum_of(tasks).await;
    watch.per_unit((count * each) as f64, total)
}

async fn ping_pong(trips: i64) -> Answer {
    let (there, mut arrived) = mpsc::channel(1);
    let (back, mut returned) = mpsc::channel(1);
    let echo = tokio::spawn(async move {
        for _ in 0..trips {
            back.send(arrived.recv().await.unwrap()).await.unwrap();
        }
    });
    let mut sum = 0;
    let watch = Stopwatch::new();
    for i in 0..trips {
        there.send(i).await.unwrap();
        let item: i64 = returned.recv().await.unwrap();
        sum += item;
    }
    let answer = watch.per_unit(trips as f64, sum);
    echo.await.unwrap();
    answer
}

// Not an async fn: the compiler must not look inside to see that it may be spawned, as it spawns itself.
fn skynet_node(base: i64, leaves: i64) -> impl Future<Output = i64> + Send {
    const FAN_OUT: i64 = 10;
    async move {
        if leaves == 1 {
            return base;
        }
        let share = leaves / FAN_OUT;
        let children = (0..FAN_OUT).map(|i| tokio::spawn(skynet_node(base + i * share, share))).collect();
        sum_of(children).await
    }
}
async fn skynet(leaves: i64) -> Answer {
    let watch = Stopwatch::new();
    let sum = tokio::spawn(skynet_node(0, leaves)).await.unwrap();
    watch.in_ms(sum)
}

async fn sleep_many(count: i64) -> Answer {
    let mut tasks = Vec::with_capacity(count as usize);
    let watch = Stopwatch::new();
    for i in 0..count {
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis((1 + i * 7919 % 1000) as u64)).await;
            1
        }));
    }
    let woken = sum_of(tasks).await;
    let (wall_s, cpu_s) = (watch.wall_ns() / 1e9, watch.cpu_ns() / 1e9);
    Answer { value: cpu_s, cpu: cpu_s, check: woken, extra: pair("wall_s", wall_s) }
}

async fn overshoot(sleeps: i64) -> Answer {
    let mut late_us = Vec::new();
    let watch = Stopwatch::new();
    for _ in 0..sleeps {
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        late_us.push(before.elapsed().as_nanos() as f64 / 1e3 - 1000.0);
    }
    let cpu = watch.cpu_ns() / 1e3 / sleeps as f64;
    late_us.sort_by(|a, b| a.total_cmp(b));
    let at = |percent: usize| late_us[late_us.len() * percent / 100];
    let early = late_us.partition_point(|late| *late < 0.0) as f64;
    Answer { value: at(50), cpu, check: sleeps, extra: pair("p99", at(99)) + &pair("early", early) }
}

/// Resident and page-table bytes of this process.
fn memory() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bytes = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    };
    (bytes("VmRSS:"), bytes("VmPTE:"))
}

async fn parked_memory(count: i64) -> Answer {
    let (event, set) = watch::channel(false);
    let parked = Arc::new(AtomicI64::new(0));
    let mut tasks = Vec::with_capacity(count as usize);
    let before = memory();
    for _ in 0..count {
        let (parked, mut set) = (parked.clone(), set.clone());
        tasks.push(tokio::spawn(async move {
            parked.fetch_add(1, Ordering::Relaxed);
            set.changed().await.unwrap();
            1
        }));
    }
    while parked.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let after = memory();
    event.send(true).unwrap();
    let woken = sum_of(tasks).await;
    let units = count as f64;
    Answer {
        value: (after.0 - before.0) / units,
        cpu: 0.0,
        check: woken,
        extra: pair("page_tables", (after.1 - before.1) / units),
    }
}

fn fib(n: i64) -> impl Future<Output = i64> + Send {
    async move {
        if n < 2 {
            return n;
        }
        let child = tokio::spawn(fib(n - 1));
        let other: Pin<Box<dyn Future<Output = i64> + Send>> = Box::pin(fib(n - 2));
        let other = other.await;
        child.await.unwrap() + other
    }
}
async fn fork_join(n: i64) -> Answer {
    let watch = Stopwatch::new();
    let result = fib(n).await;
    watch.in_ms(result)
}

async fn offload(calls: i64) -> Answer {
    let mut sum = 0;
    let watch = Stopwatch::new();
    for _ in 0..calls {
        sum += tokio::task::spawn_blocking(|| 1).await.unwrap();
    }
    watch.per_unit(calls as f64, sum)
}

async fn many_to_many(items: i64) -> Answer {
    const TASKS: i64 = 4;
    let (put, get) = async_channel::bounded::<i64>(1024);
    let each = items / TASKS;
    let mut consumers = Vec::new();
    let watch = Stopwatch::new();
    for _ in 0..TASKS {
        let (put, get) = (put.clone(), get.clone());
        tokio::spawn(async move {
            for i in 0..each {
                put.send(i).await.unwrap();
            }
        });
        consumers.push(tokio::spawn(async move {
            let mut sum = 0;
            for _ in 0..each {
                sum += get.recv().await.unwrap();
            }
            sum
        }));
    }
    let total = sum_of(consumers).await;
    watch.per_unit((each * TASKS) as f64, total)
}

async fn cancel_many(count: i64) -> Answer {
    let asleep = Arc::new(AtomicI64::new(0));
    let mut tasks = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let asleep = asleep.clone();
        tasks.push(tokio::spawn(async move {
            asleep.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(3600)).await
        }));
    }
    while asleep.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut cancelled = 0;
    let watch = Stopwatch::new();
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        if task.await.unwrap_err().is_cancelled() {
            cancelled += 1;
        }
    }
    watch.per_unit(count as f64, cancelled)
}

async fn lock_shared(each: i64) -> Answer {
    const TASKS: i64 = 8;
    let counter = Arc::new(Mutex::new(0));
    let watch = Stopwatch::new();
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let counter = counter.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..each {
                *counter.lock().await += 1;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let answer = watch.per_unit((TASKS * each) as f64, 0);
    let check = *counter.lock().await;
    Answer { check, ..answer }
}

async fn ask(question: String, size: i64) -> Option<Answer> {
    Some(match question.as_str() {
        "W1" => spawn_and_join(size).await,
        "W2" => yields(1000, size).await,
        "W2b" => yields(2, size).await,
        "W3" => ping_pong(size).await,
        "W4" => skynet(size).await,
        "W5" => sleep_many(size).await,
        "W6" => overshoot(size).await,
        "W7" => parked_memory(size).await,
        "W10" => fork_join(size).await,
        "W11" => offload(size).await,
        "W12" => many_to_many(size).await,
        "W13" => cancel_many(size).await,
        "W14" => lock_shared(size).await,
        _ => return None,
    })
}

fn usage() -> ! {
    eprintln!("usage: tokio_peer QUESTION SIZE --workers N");
    std::process::exit(2)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (question, size, workers) = match arguments.as_slice() {
        [question, size, option, workers] if option == "--workers" => {
            match (size.parse::<i64>(), workers.parse::<usize>()) {
                (Ok(size), Ok(workers)) if size > 0 && workers > 0 => (question, size, workers),
                _ => usage(),
            }
        }
        _ => usage(),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_time().build().unwrap();
    // On a worker, where tasks spawn most cheaply: block_on itself runs beside them.
    let asked = runtime.spawn(ask(question.clone(), size));
    let answer = runtime.block_on(asked).unwrap().unwrap_or_else(|| usage());
    println!(
        "{{\"question\": \"{}\", \"workers\": {}, \"value\": {:.4}, \"cpu\": {:.4}, \"check\": {}{}}}",
        question, workers, answer.value, answer.cpu, answer.check, answer.extra
    );
}
