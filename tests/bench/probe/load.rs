//! So many clients, each with one request at a time on a connection of its own, on one thread.

use std::env;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::nanos;

const PATIENCE: Duration = Duration::from_secs(5);

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    sent: u64,
    answers: u64,
}

/// What became of the reading.
enum Turn {
    Unfinished,
    Answered,
    Lost,
}

/// `ADDRESS CLIENTS SECONDS`, and the whole request in `$REQUEST`.
pub fn run(words: &[String]) {
    let [address, clients, seconds] = words else { panic!("load ADDRESS CLIENTS SECONDS") };
    let request = env::var("REQUEST").unwrap();
    let connect = || -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream, answer: Vec::new(), sent: 0, answers: 0 })
    };
    let mut all: Vec<Client> = (0..clients.parse().unwrap()).map(|_| connect().unwrap()).collect();
    let send = |client: &mut Client| {
        client.sent = nanos();
        client.answer.clear();
        client.stream.write_all(request.as_bytes()).is_ok()
    };
    let (begun, limit) = (nanos(), seconds.parse::<u64>().unwrap() * 1_000_000_000);
    let (mut times, mut lost, mut connections) = (Vec::new(), 0_u64, all.len());
    all.iter_mut().for_each(|client| lost += u64::from(!send(client)));
    let mut entries: Vec<libc::pollfd> = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    while nanos() - begun < limit {
        if all.len() > 1 {
            entries.clear();
            entries.extend(all.iter().map(|client| libc::pollfd {
                fd: client.stream.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            }));
            // SAFETY: a valid array of that length.
            unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 1000) };
        }
        for (at, client) in all.iter_mut().enumerate() {
            if entries.get(at).is_some_and(|entry| entry.revents == 0) {
                continue;
            }
            match turn(client, &mut buffer) {
                Turn::Unfinished => continue,
                Turn::Answered => {
                    times.push(nanos() - client.sent);
                    client.answers += 1;
                    if send(client) {
                        continue;
                    }
                }
                Turn::Lost => lost += 1,
            }
            // A server may end a connection between two requests.
            let answers = client.answers;
            *client = connect().unwrap();
            client.answers = answers;
            connections += 1;
            send(client);
        }
    }
    let took = (nanos() - begun) as f64 / 1e9;
    times.sort_unstable();
    let micros = |part: usize| times.get(times.len().saturating_sub(1) * part / 1000).map_or(0.0, |&t| t as f64 / 1e3);
    println!(
        "{{\"rps\": {:.0}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"max_us\": {:.1}, \"lost\": {lost}, \
         \"connections\": {connections}, \"least\": {}, \"answers\": {}}}",
        times.len() as f64 / took,
        micros(500),
        micros(990),
        micros(1000),
        all.iter().map(|client| client.answers).min().unwrap(),
        times.len(),
    );
}

fn turn(client: &mut Client, buffer: &mut [u8]) -> Turn {
    match client.stream.read(buffer) {
        Ok(0) | Err(_) => return Turn::Lost,
        Ok(count) => client.answer.extend_from_slice(&buffer[..count]),
    }
    let Some(head) = client.answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Turn::Unfinished };
    let text = String::from_utf8_lossy(&client.answer[..head]).to_ascii_lowercase();
    if !text.contains(" 200 ") {
        return Turn::Lost;
    }
    let is_whole = match text.split("content-length:").nth(1) {
        Some(rest) => {
            let length: usize = rest.split("\r\n").next().unwrap().trim().parse().unwrap();
            client.answer.len() >= head + 4 + length
        }
        None => client.answer.ends_with(b"0\r\n\r\n"),
    };
    if is_whole { Turn::Answered } else { Turn::Unfinished }
}
