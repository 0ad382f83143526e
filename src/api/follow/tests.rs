use std::io::Write;

use super::*;

fn shown(form: Form, all: &[Shown<'_>]) -> String {
    let mut bytes = Vec::new();
    let mut sink = Sink::new(form, &mut bytes);
    all.iter().for_each(|shown| sink.show(*shown).unwrap());
    sink.send().unwrap();
    String::from_utf8(bytes).unwrap()
}

const OUT: StreamId = StreamId::Stdout;
const ERR: StreamId = StreamId::Stderr;

#[test]
fn plain_text_is_what_the_server_wrote() {
    let all = [Shown::Line(OUT, b"one"), Shown::Line(ERR, b"two\r"), Shown::Part(OUT, b"be"), Shown::Line(OUT, b"gun")];
    assert_eq!(shown(Form::Plain, &all), "one\ntwo\r\nbegun\n");
}

#[test]
fn an_unfinished_line_is_not_run_into_by_another() {
    let all = [Shown::Part(OUT, b"? "), Shown::Line(ERR, b"bad"), Shown::Part(OUT, b"yes"), Shown::Missed(7)];
    let text = shown(Form::Plain, &all);
    assert!(text.starts_with("? \nbad\nyes\nservisor: 7 bytes are missing here"), "{text:?}");
    assert!(text.ends_with('\n'));
}

#[test]
fn an_event_is_a_line_of_one_stream() {
    let all = [Shown::Line(OUT, b"one"), Shown::Line(ERR, b""), Shown::Missed(12)];
    let expected = "event: stdout\ndata: one\n\nevent: stderr\ndata: \n\nevent: dropped\ndata: 12\n\n";
    assert_eq!(shown(Form::Events, &all), expected);
}

#[test]
fn an_event_can_not_be_broken_by_what_is_in_it() {
    let all = [Shown::Line(OUT, b"10%\r20%\revent: x\r"), Shown::Line(OUT, b"a\xffb")];
    let expected = "event: stdout\ndata: 10%\ndata: 20%\ndata: event: x\n\nevent: stdout\ndata: a\u{fffd}b\n\n";
    assert_eq!(shown(Form::Events, &all), expected);
}

impl StreamOut for Vec<u8> {
    fn wait(&mut self, _: &Waker, _: Instant) -> io::Result<()> {
        Ok(())
    }
}

impl StreamOut for Counting {
    fn wait(&mut self, _: &Waker, _: Instant) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what comes, and counts how often.
#[derive(Default)]
struct Counting {
    writes: usize,
    largest: usize,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        self.largest = self.largest.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn short_lines_are_sent_together_and_never_too_many() {
    let log = Arc::new(SharedLog::new(1 << 20));
    for _ in 0..100_000 {
        log.append(OUT, b"x\n");
    }
    log.end();
    let mut counting = Counting::default();
    let waker = waker().unwrap();
    let mut follower = Follower::new(log, Selection::Combined, None, &waker);
    follow(&mut follower, &waker, Sink::new(Form::Events, &mut counting)).unwrap();
    assert!(counting.writes < 250, "{} writes", counting.writes);
    assert!(counting.largest < 2 * CHUNK, "{} bytes at once", counting.largest);
}
