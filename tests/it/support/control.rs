//! The test's end of the connections by which its children show that they live.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{LIMIT, wait_until};

/// Where children report.
pub struct Control {
    listener: TcpListener,
    pub address: SocketAddr,
}

/// A child that has reported.
pub struct Child {
    pub name: String,
    pub pid: u32,
    /// Its monotonic clock when it reported, in microseconds.
    pub at: u64,
    stream: BufReader<TcpStream>,
}

impl Control {
    pub fn new() -> Control {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        Control { listener, address }
    }

    /// The next child that reports.
    #[track_caller]
    pub fn child(&self) -> Child {
        wait_until("a child reports", || self.try_child())
    }

    pub fn try_child(&self) -> Option<Child> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap_or_else(|| panic!("a child said {line:?}")).to_owned();
        Some(Child { name: word(), pid: word().parse().unwrap(), at: word().parse().unwrap(), stream })
    }
}

impl Child {
    /// Has one that obeys carry out orders, and gives the time of its monotonic clock when it began to, in
    /// microseconds.
    #[track_caller]
    pub fn order(&mut self, orders: &str) -> u64 {
        self.send(orders);
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let begun = line.strip_prefix("done ").unwrap_or_else(|| panic!("{} answered {line:?} to {orders}", self.name));
        begun.trim().parse().unwrap()
    }

    /// Orders something that can't be answered.
    pub fn send(&mut self, orders: &str) {
        self.stream.get_mut().write_all(format!("{orders}\n").as_bytes()).unwrap();
    }

    /// Waits until no process has its end of the connection any more.
    #[track_caller]
    pub fn wait_dead(&mut self) {
        let end = self.stream.read(&mut [0; 16]);
        assert!(
            matches!(end, Ok(0)) || matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
            "{} lives: {end:?}",
            self.name
        );
    }

    /// Whether it is dead already.
    pub fn is_dead(&mut self) -> bool {
        self.stream.get_ref().set_nonblocking(true).unwrap();
        let end = self.stream.read(&mut [0; 16]);
        self.stream.get_ref().set_nonblocking(false).unwrap();
        match end {
            Ok(count) => count == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
