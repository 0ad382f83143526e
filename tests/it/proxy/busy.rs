//! The API beside as many visitors as there may be, all of them busy.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::bodies::resident;
use super::*;

const TUNNELS: usize = 512;
/// As many as one server may have.
const OF_ONE: usize = 256;
/// What each tunnel has under way all the time, in bytes.
const FRAME: usize = 1024;
const ASKED: usize = 300;
/// Promised for 99 of 100 answers on a quiet machine; a debug build among other tests is given more.
const PROMISED: Duration = Duration::from_millis(20);
/// In KiB, for each tunnel: the stack of its thread and a piece each way.
const MEMORY: u64 = 64;

/// Sends back what comes, on all tunnels, until it is over. Returns how many bytes have come.
fn keep_busy(tunnels: &mut [TcpStream], is_over: &AtomicBool) -> u64 {
    let mut entries: Vec<libc::pollfd> = Vec::new();
    for tunnel in tunnels.iter_mut() {
        tunnel.write_all(&[b'x'; FRAME]).unwrap();
        entries.push(libc::pollfd { fd: tunnel.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }
    let (mut buffer, mut total) = ([0; FRAME], 0);
    while !is_over.load(Ordering::Relaxed) {
        // SAFETY: a valid array of that length.
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 100) };
        for (tunnel, _) in tunnels.iter_mut().zip(&entries).filter(|(_, entry)| entry.revents != 0) {
            let count = tunnel.read(&mut buffer).unwrap();
            assert!(count > 0, "a tunnel has ended");
            tunnel.write_all(&buffer[..count]).unwrap();
            total += count as u64;
        }
    }
    total
}

/// The median, the 99th percentile and the longest of what `ask` took.
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, ask: impl FnOnce() -> u16) {
        let begun = Instant::now();
        assert_eq!(ask(), 200);
        self.0.push(begun.elapsed());
    }

    fn parts(mut self) -> [Duration; 3] {
        self.0.sort_unstable();
        [50, 99, 100].map(|percent| self.0[(self.0.len() * percent).div_ceil(100) - 1])
    }
}

mod timed {
    use super::*;

    /// `make bulk` has this on the static binary. When each frame had its piece mapped and unmapped, all tunnels and the API
    /// waited for each other at the lock of the process's memory: the 99th percentile was 1 to 3 s.
    #[test]
    fn the_api_answers_beside_512_busy_tunnels() {
        let daemon = Daemon::with(&["--proxy"], &[]);
        let start = format!("exec {} web 127.0.0.1:PORT stay", testchild());
        let port = quiet_port();
        for (slug, port) in [("one", quiet_port()), ("other", quiet_port()), ("apart", port)] {
            daemon.client.create(&json!({"slug": slug, "port": port, "start": start})).server(201);
            daemon.client.when_ready(slug);
        }
        let before = resident(daemon.pid());
        let open = |number: usize| {
            let slug = if number < OF_ONE { "one" } else { "other" };
            let upgrade = format!("GET /ws HTTP/1.1\nHost: {slug}.localhost\nUpgrade: websocket\nConnection: Upgrade");
            let mut tunnel = Visitor::open(daemon.client.address, &upgrade);
            assert!(tunnel.read_to("\r\n\r\n").starts_with("HTTP/1.1 101 "));
            tunnel.stream
        };
        let mut tunnels: Vec<TcpStream> = (0..TUNNELS).map(open).collect();
        // What is measured includes the wait for a processor, which another server has too, and a machine that is busy is
        // given another chance.
        let is_soon_enough = (0..5).any(|_| {
            let is_over = AtomicBool::new(false);
            let (mut api, mut apart) = (Times(Vec::new()), Times(Vec::new()));
            let (moved, took, memory) = thread::scope(|scope| {
                let busy = scope.spawn(|| keep_busy(&mut tunnels, &is_over));
                let begun = Instant::now();
                for _ in 0..ASKED {
                    api.add(|| daemon.client.get("/servers").status);
                    apart.add(|| visit(([127, 0, 0, 1], port).into(), "localhost", "/head", "").status);
                }
                let (took, memory) = (begun.elapsed(), resident(daemon.pid()));
                is_over.store(true, Ordering::Relaxed);
                (busy.join().unwrap(), took, memory)
            });
            // What is under way comes, and nothing else is in the next round.
            for tunnel in &mut tunnels {
                tunnel.read_exact(&mut [0; FRAME]).unwrap();
            }
            let (api, apart, speed) = (api.parts(), apart.parts(), moved as f64 / took.as_secs_f64() / 1e6);
            println!(
                "beside {TUNNELS} tunnels with {speed:.1} MB/s each way: {ASKED} answers of the API {api:?}, of another \
                 server {apart:?} (median, p99, longest); {before} KiB of memory without them, {memory} with them"
            );
            assert!(moved > (TUNNELS * FRAME) as u64, "they were not busy");
            assert!(memory < before + TUNNELS as u64 * MEMORY, "{memory} KiB");
            api[1] < PROMISED * 5 || api[1] < apart[1] * 2
        });
        assert!(is_soon_enough, "{PROMISED:?} are promised");
    }
}
