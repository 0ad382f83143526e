use super::*;
use crate::testing::Scratch;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

impl Scratch {
    fn program(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.join(name);
        let options = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        io::Write::write_all(&mut options.unwrap(), text.as_bytes()).unwrap();
    }

    /// `words` by themselves, in here, with only here to look for programs; the shell would say that it was asked.
    fn plan(&self, words: &[&str]) -> Plan {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let environment =
            vec![("PATH".into(), format!("nowhere:{}", self.0.display()).into()), ("A".into(), "a b".into())];
        let script = "echo from the shell".into();
        Plan {
            script,
            words: Some(words),
            directory: self.0.clone(),
            environment,
            open_files: None,
            stdin: Stdin::Null,
        }
    }
}

/// All that it writes to both streams until it has ended, and is reaped.
fn output(plan: &Plan) -> (String, String) {
    let Spawned { pid, stdout, stderr, .. } = spawn(plan).unwrap();
    let read = |fd: OwnedFd| {
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        text
    };
    let both = (read(stdout), read(stderr));
    // SAFETY: the null pointer asks for no status.
    assert_eq!(unsafe { libc::waitpid(pid.raw(), std::ptr::null_mut(), 0) }, pid.raw());
    both
}

fn shell(script: &str) -> Plan {
    let environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    Plan {
        script: script.into(),
        words: None,
        directory: "/".into(),
        environment,
        open_files: None,
        stdin: Stdin::Null,
    }
}

#[test]
fn words_are_run_by_themselves() {
    let scratch = Scratch::new();
    scratch.program("show", "#!/bin/sh\necho \"$0|$*|$A|$(pwd)\"\necho error >&2\n", 0o755);
    let here = scratch.0.display();
    let named = (format!("{here}/show|x $y|a b|{here}\n"), "error\n".to_owned());
    assert_eq!(output(&scratch.plan(&["show", "x", "$y"])), named);
    let by_path = (format!("./show||a b|{here}\n"), "error\n".to_owned());
    assert_eq!(output(&scratch.plan(&["./show"])), by_path);
}

#[test]
fn what_can_not_be_run_by_itself_is_left_to_the_shell() {
    let scratch = Scratch::new();
    scratch.program("closed", "#!/bin/sh\necho closed\n", 0o644);
    scratch.program("bare", "echo it has no line that names its interpreter\n", 0o755);
    scratch.program("astray", "#!/no/such/interpreter\n", 0o755);
    fs::create_dir(scratch.0.join("folder")).unwrap();
    for name in ["missing", "closed", "bare", "astray", "folder", "./missing", "./closed", "./folder"] {
        assert_eq!(output(&scratch.plan(&[name])), ("from the shell\n".to_owned(), String::new()), "{name}");
    }
}

#[test]
fn a_process_begins_clean() {
    let (status, _) = output(&shell("cat /proc/self/status; ls -l /proc/self/fd/; cat /proc/self/stat"));
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    // These two are reserved by libc.
    let of_libc = 0b11 << 31;
    for set in ["SigBlk:", "SigIgn:"] {
        let mask = u64::from_str_radix(line(set).split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask & !of_libc, 0, "{status}");
    }
    // Besides what the tests themselves were started with: nothing in, and each pipe once.
    let opened: Vec<&str> = status.lines().filter(|line| line.contains(" -> ")).collect();
    let of = |number: u8| opened.iter().find_map(|line| line.split_once(&format!(" {number} -> "))).map(|(_, to)| to);
    assert_eq!(of(0), Some("/dev/null"));
    for number in [1, 2] {
        let pipe = of(number).filter(|to| to.starts_with("pipe:")).unwrap();
        assert_eq!(opened.iter().filter(|line| line.ends_with(pipe)).count(), 1, "{status}");
    }
}

#[test]
fn it_has_its_own_group_limit_and_score() {
    let plan = Plan {
        open_files: Some(123),
        stdin: Stdin::Null,
        ..shell("ulimit -S -n; cat /proc/self/oom_score_adj; cut -d' ' -f1,5 /proc/$$/stat")
    };
    let (output, _) = output(&plan);
    let lines: Vec<&str> = output.lines().collect();
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(lines[..2], ["123", &(own + OOM_SCORE_RAISE).min(OOM_SCORE_MAX).to_string()], "{output}");
    let (pid, group) = lines[2].split_once(' ').unwrap();
    assert_eq!(pid, group);
    let unchanged = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(unchanged.trim(), own.to_string(), "the daemon's own stays");
}

#[test]
fn what_is_missing_is_named() {
    let scratch = Scratch::new();
    scratch.program("file", "", 0o644);
    let spawn_in = |place: &str| spawn(&Plan { directory: scratch.0.join(place), ..shell("true") }).unwrap_err();
    let here = scratch.0.display();
    assert_eq!(spawn_in("none"), format!("the working directory {here}/none does not exist"));
    assert_eq!(spawn_in("file"), format!("the working directory {here}/file is not a directory"));
    let with = |environment| spawn(&Plan { environment, ..shell("true") }).unwrap_err();
    let text = |length: usize| "x".repeat(length).into();
    let refusal =
        with(vec![("SMALL".into(), text(9)), ("LARGE".into(), text(200_000)), ("OTHER".into(), text(99_999))]);
    assert_eq!(refusal, "the variable LARGE is 200006 bytes long with its name; the system takes 131071");
    let many: Vec<_> = (0..80).map(|number| (format!("V{number:02}").into(), text(100_000 + number))).collect();
    let refusal = with(many);
    let output = "the variables have 8003480 bytes together, the largest is V79 with 100083";
    assert!(refusal.contains("larger than the system takes") && refusal.contains(output), "{refusal}");
    assert_eq!(spawn(&shell("a\0b")).unwrap_err(), "a\0b has a NUL byte in it");
    // SAFETY: the null pointer asks for no status; the flag restricts it to this thread's children.
    let left = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WNOTHREAD) };
    assert_eq!((left, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)), "a child is left");
}
