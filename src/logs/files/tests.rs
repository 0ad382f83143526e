use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::testing::{LIMIT, Scratch};

impl Scratch {
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

fn web() -> Slug {
    Slug::parse("web").unwrap()
}

/// A writer and a log, on this thread.
fn by_hand(scratch: &Scratch, capacity: usize, limit: u64) -> (Writer, Inbox<FilesMessage>, Arc<SharedLog>) {
    fs::create_dir_all(&scratch.0).unwrap();
    let (sender, inbox) = inbox();
    let writer = Writer::new(scratch.0.clone(), limit);
    let log = Arc::new_cyclic(|log| SharedLog {
        notifier: Some(FilesNotifier::new(web(), Weak::clone(log), sender)),
        ..SharedLog::new(capacity)
    });
    (writer, inbox, log)
}

/// Handles the queued messages, and returns their number.
fn receive_all(writer: &mut Writer, inbox: &Inbox<FilesMessage>) -> usize {
    let mut count = 0;
    while let Ok(FilesMessage::Output(log)) = inbox.try_recv() {
        writer.write(log);
        count += 1;
    }
    count
}

#[test]
fn each_stream_has_its_file_for_its_owner_only() {
    let scratch = Scratch::absent();
    let deep = scratch.0.join("a/b");
    let files = LogFiles::start(&deep, 1 << 20).unwrap();
    let log = SharedLog::with_files(1 << 16, &web(), &files);
    log.append(StreamId::Stdout, b"out\n\xff");
    log.append(StreamId::Stderr, b"err\n");
    log.append(StreamId::Stdout, b"more\n");
    files.finish(Instant::now() + LIMIT);
    let out = deep.join("web.stdout.log");
    assert_eq!(fs::read(&out).unwrap(), b"out\n\xffmore\n");
    assert_eq!(fs::read(deep.join("web.stderr.log")).unwrap(), b"err\n");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 2);
}

#[test]
fn a_file_is_full_at_exactly_its_limit() {
    let scratch = Scratch::absent();
    let (mut writer, inbox, log) = by_hand(&scratch, 1 << 16, 20);
    let mut say = |text: &str| {
        log.append(StreamId::Stdout, text.as_bytes());
        receive_all(&mut writer, &inbox);
        (scratch.read("web.stdout.log"), scratch.read("web.stdout.log.1"))
    };
    let pair = |now: &str, before: &str| (now.to_owned(), before.to_owned());
    assert_eq!(say("123456789\n"), pair("123456789\n", ""));
    assert_eq!(say("abcdefghi\n"), pair("123456789\nabcdefghi\n", ""));
    assert_eq!(say("x\n"), pair("x\n", "123456789\nabcdefghi\n"));
    // As many whole lines as fit.
    assert_eq!(say("12345678901234\ny\nz\n"), pair("z\n", "x\n12345678901234\ny\n"));
    assert_eq!(say(&"-".repeat(45)), pair(&"-".repeat(5), &"-".repeat(20)));
}

#[test]
fn a_disk_that_does_not_move_costs_the_ring_nothing_and_the_loss_is_noted() {
    let scratch = Scratch::absent();
    let (mut writer, inbox, log) = by_hand(&scratch, 1 << 16, 1 << 30);
    log.append(StreamId::Stdout, b"first\nunfin");
    receive_all(&mut writer, &inbox);
    let line = [&[b'x'; 99][..], b"\n"].concat();
    // Without writes meanwhile, one message is enough.
    for _ in 0..10_000 {
        log.append(StreamId::Stdout, &line);
    }
    assert_eq!(receive_all(&mut writer, &inbox), 1);
    let text = scratch.read("web.stdout.log");
    let (before, after) = text.split_once("\nservisor: ").unwrap();
    assert_eq!(before, "first\nunfin");
    let (missing, after) = after.split_once(" bytes are missing here: they could not be written in time\n").unwrap();
    assert_eq!(missing.parse::<usize>().unwrap() + after.len(), 10_000 * line.len());
    assert_eq!(log.render(Selection::Stdout, None).bytes, after.as_bytes());
    log.append(StreamId::Stdout, b"last\n");
    receive_all(&mut writer, &inbox);
    assert_eq!(scratch.read("web.stdout.log"), text + "last\n");
}

#[test]
fn what_could_not_be_written_is_written_late() {
    let scratch = Scratch::absent();
    let (mut writer, inbox, log) = by_hand(&scratch, 1 << 16, 1 << 20);
    let path = scratch.0.join("web.stderr.log");
    // Neither a directory nor a link is written to, whatever made it.
    for obstacle in ["directory", "link"] {
        match obstacle {
            "directory" => fs::create_dir(&path).unwrap(),
            _ => std::os::unix::fs::symlink("/dev/null", &path).unwrap(),
        }
        log.append(StreamId::Stderr, b"one\n");
        log.append(StreamId::Stdout, b"out\n");
        receive_all(&mut writer, &inbox);
        assert_eq!(writer.blocked.len(), 1);
        log.append(StreamId::Stderr, b"two\n");
        receive_all(&mut writer, &inbox);
        writer.retry();
        assert_eq!(writer.blocked.len(), 1);
        fs::remove_dir(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        writer.retry();
        assert_eq!(writer.blocked.len(), 0);
        assert_eq!(scratch.read("web.stderr.log"), "one\ntwo\n", "{obstacle}");
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(scratch.read("web.stdout.log"), "out\nout\n");
    // A server that is gone is not waited for.
    fs::remove_dir_all(&scratch.0).unwrap();
    log.append(StreamId::Stderr, b"three\n");
    log.end();
    receive_all(&mut writer, &inbox);
    writer.retry();
    assert_eq!(writer.blocked.len(), 0);
}

#[test]
fn the_end_writes_what_there_is() {
    let scratch = Scratch::absent();
    let (writer, inbox, log) = by_hand(&scratch, 16 << 20, 1 << 30);
    let line = [&[b'y'; 999][..], b"\n"].concat();
    // More than a turn.
    for _ in 0..3000 {
        log.append(StreamId::Stdout, &line);
    }
    log.notifier.as_ref().unwrap().sender.send(FilesMessage::End).unwrap();
    writer.run(&inbox);
    assert_eq!(scratch.read("web.stdout.log").len(), 3000 * line.len());
}

#[test]
fn a_directory_that_can_not_be_is_an_error_at_the_start() {
    let scratch = Scratch::absent();
    fs::write(&scratch.0, "").unwrap();
    let error = LogFiles::start(&scratch.0.join("logs"), 1 << 20).unwrap_err();
    assert!(error.contains("can't be made") && error.contains("--log-dir"), "{error}");
    fs::remove_file(&scratch.0).unwrap();
}
