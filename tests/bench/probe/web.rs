//! A server with nothing behind it and a client of large bodies: what stands on both sides of a proxy in the benchmark.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::nanos;

const PIECE: usize = 256 * 1024;

/// Answers on `$PORT`: `GET /N` with N bytes, `POST` with nothing when the body has been read.
pub fn serve() {
    let listener = TcpListener::bind(format!("127.0.0.1:{}", env::var("PORT").unwrap())).unwrap();
    for stream in listener.incoming().flatten() {
        // A client that leaves ends its connection alone.
        std::thread::spawn(move || drop(answer(&stream)));
    }
}

fn answer(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BufReader::with_capacity(PIECE, stream), stream);
    let piece = vec![b'x'; PIECE];
    loop {
        let head = head(&mut input)?;
        if let Some(rest) = head.strip_prefix("get /") {
            let mut left: usize = rest.split(' ').next().unwrap().parse().unwrap_or(0);
            let mut first = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").into_bytes();
            let with_head = left.min(PIECE / 4);
            first.extend_from_slice(&piece[..with_head]);
            output.write_all(&first)?;
            left -= with_head;
            while left > 0 {
                let count = left.min(PIECE);
                output.write_all(&piece[..count])?;
                left -= count;
            }
        } else {
            body(&mut input, &head)?;
            output.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        if head.contains("connection: close") {
            return Ok(());
        }
    }
}

/// In lower case. An end of the stream is an error.
fn head(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if input.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads a body and returns its length.
fn body(input: &mut impl BufRead, head: &str) -> io::Result<u64> {
    if let Some(rest) = head.split("content-length:").nth(1) {
        let length = rest.split("\r\n").next().unwrap().trim().parse().unwrap();
        return skip(input, length);
    }
    let mut total = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap();
        total += skip(input, length)?;
        input.read_line(&mut line)?;
        if length == 0 {
            return Ok(total);
        }
    }
}

fn skip(input: &mut impl Read, length: u64) -> io::Result<u64> {
    let count = io::copy(&mut input.take(length), &mut io::sink())?;
    if count == length { Ok(count) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// `pull ADDRESS HOST BYTES` or `push ADDRESS HOST BYTES`: one large body in an answer or in a request.
pub fn transfer(words: &[String]) {
    let [direction, address, host, bytes] = words else { panic!("pull|push ADDRESS HOST BYTES") };
    let bytes: u64 = bytes.parse().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let (mut input, mut output) = (BufReader::with_capacity(PIECE, &stream), &stream);
    let begun = nanos();
    let done = if direction == "pull" {
        output.write_all(format!("GET /{bytes} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        let head = head(&mut input).unwrap();
        body(&mut input, &head).unwrap()
    } else {
        output
            .write_all(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n").as_bytes())
            .unwrap();
        let piece = vec![b'x'; PIECE];
        let mut left = bytes;
        while left > 0 {
            let count = left.min(PIECE as u64);
            output.write_all(&piece[..count as usize]).unwrap();
            left -= count;
        }
        assert!(head(&mut input).unwrap().contains(" 200 "));
        bytes
    };
    assert_eq!(done, bytes);
    println!("{{\"mb_s\": {:.0}}}", bytes as f64 / (nanos() - begun) as f64 * 1e3);
}
