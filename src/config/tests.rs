use super::*;

fn call(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, ConfigError> {
    parse(
        arguments.iter().map(|argument| OsString::from(*argument)),
        environment.iter().map(|(name, value)| (OsString::from(*name), OsString::from(*value))),
    )
}

fn config(options: &[&str], environment: &[(&str, &str)]) -> Config {
    match call(options, environment) {
        Ok(Invocation::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn refusal(options: &[&str], environment: &[(&str, &str)]) -> String {
    call(options, environment).unwrap_err().to_string()
}

#[test]
fn defaults() {
    let config = config(&[], &[("HOME", "/home/ann")]);
    assert_eq!(config.listen, Listen::Tcp("127.0.0.1:18080".parse().unwrap()));
    assert_eq!(config.root, std::env::current_dir().unwrap());
    assert_eq!(config.state_dir, PathBuf::from("/home/ann/.local/state/servisor"));
    assert_eq!(config.public_url, None);
    assert!(matches!(config.auth, AuthSource::Kept));
    assert_eq!((config.log_level, config.log_buffer_bytes), (Level::Info, 1024 * 1024));
    assert_eq!((config.log_dir, config.log_file_bytes), (None, 10 * 1024 * 1024));
    assert!(config.allow_origins.is_empty() && config.warnings.is_empty());
}

#[test]
fn state_directories() {
    assert_eq!(config(&[], &[]).state_dir, PathBuf::from("/var/lib/servisor"));
    let both = [("HOME", "/h"), ("XDG_STATE_HOME", "/s")];
    assert_eq!(config(&[], &both).state_dir, PathBuf::from("/s/servisor"));
    assert_eq!(config(&["--state-dir", "/x"], &both).state_dir, PathBuf::from("/x"));
    assert!(config(&["--state-dir=x/y"], &both).state_dir.is_absolute());
}

#[test]
fn an_argument_wins_over_its_variable_and_an_empty_variable_is_none() {
    let variables = [("SERVISOR_LISTEN", "[::1]:1"), ("SERVISOR_LOG_LEVEL", ""), ("SERVISOR_ROOT", "/r")];
    let by_variable = config(&[], &variables);
    assert_eq!(by_variable.listen, Listen::Tcp("[::1]:1".parse().unwrap()));
    assert_eq!((by_variable.log_level, by_variable.root), (Level::Info, PathBuf::from("/r")));
    let by_argument = config(&["--listen", "localhost:2", "--log-level=debug"], &variables);
    assert_eq!(by_argument.listen, Listen::Tcp("127.0.0.1:2".parse().unwrap()));
    assert_eq!(by_argument.log_level, Level::Debug);
}

#[test]
fn log_files() {
    let config = |options: &[&str]| config(options, &[("SERVISOR_LOG_FILE_BYTES", "4096")]);
    let with = config(&["--log-dir", "logs"]);
    assert_eq!((with.log_dir, with.log_file_bytes), (Some(std::env::current_dir().unwrap().join("logs")), 4096));
    assert!(with.warnings.is_empty());
    assert!(config(&[]).warnings[0].contains("--log-dir"));
}

#[test]
fn unix_sockets() {
    for text in ["unix:/run/s.sock", "unix:///run/s.sock"] {
        assert_eq!(config(&["--listen", text], &[]).listen, Listen::Unix("/run/s.sock".into()));
    }
}

#[test]
fn public_urls() {
    let template = "https://{port}-{slug}.example";
    for (options, variables) in
        [(&["--public-url", template][..], &[][..]), (&[], &[("SERVISOR_PUBLIC_URL", template)])]
    {
        assert_eq!(config(options, variables).public_url, PublicUrl::parse(template).ok());
    }
}

#[test]
fn tokens_and_their_absence() {
    let token = [("SERVISOR_ACCESS_TOKEN", "secret")];
    assert!(matches!(config(&[], &token).auth, AuthSource::Given(_)));
    let file = config(&["--access-token-file", "/t"], &token).auth;
    assert!(matches!(file, AuthSource::File(path) if path == std::path::Path::new("/t")));
    for (options, variables) in [(&["--no-auth"][..], &[][..]), (&[], &[("SERVISOR_NO_AUTH", "1")])] {
        assert!(matches!(config(options, variables).auth, AuthSource::Off));
    }
    assert!(matches!(config(&[], &[("SERVISOR_NO_AUTH", "0")]).auth, AuthSource::Kept));
    assert!(matches!(config(&["--no-auth", "--listen", "unix:/s"], &[]).auth, AuthSource::Off));
}

#[test]
fn the_sdks_variable_is_the_token_when_no_other_is_given() {
    let both = [("COMPUTESDK_ACCESS_TOKEN", "theirs"), ("SERVISOR_ACCESS_TOKEN", "ours")];
    let is = |config: &Config, expected: &str| match &config.auth {
        AuthSource::Given(token) => token.is(expected),
        AuthSource::File(_) | AuthSource::Kept | AuthSource::Off => false,
    };
    let theirs = config(&[], &both[..1]);
    assert!(is(&theirs, "theirs") && theirs.warnings.is_empty(), "{theirs:?}");
    let ours = config(&[], &both);
    assert!(is(&ours, "ours"), "{ours:?}");
    assert_eq!(ours.warnings, ["COMPUTESDK_ACCESS_TOKEN is not used: SERVISOR_ACCESS_TOKEN is given too"]);
    assert!(matches!(config(&[], &[("COMPUTESDK_ACCESS_TOKEN", "")]).auth, AuthSource::Kept));
    let file = config(&["--access-token-file", "/t"], &both);
    assert!(matches!(file.auth, AuthSource::File(_)));
    assert_eq!(file.warnings.len(), 2, "{:?}", file.warnings);
}

#[test]
fn a_token_beside_no_auth_is_refused_wherever_it_comes_from() {
    let no_auth = [("SERVISOR_NO_AUTH", "true")];
    for (options, variable, name) in [
        (&["--access-token-file", "x"][..], None, "--access-token-file"),
        (&[], Some("SERVISOR_ACCESS_TOKEN_FILE"), "SERVISOR_ACCESS_TOKEN_FILE"),
        (&[], Some("SERVISOR_ACCESS_TOKEN"), "SERVISOR_ACCESS_TOKEN"),
        (&[], Some("COMPUTESDK_ACCESS_TOKEN"), "COMPUTESDK_ACCESS_TOKEN"),
    ] {
        let variables: Vec<_> = variable.map(|name| (name, "secret")).into_iter().collect();
        let text = refusal(&[&["--no-auth"], options].concat(), &variables);
        assert_eq!(text, format!("--no-auth and {name} contradict each other; give one of them"));
        let text = refusal(options, &[&variables[..], &no_auth].concat());
        assert_eq!(text, format!("SERVISOR_NO_AUTH and {name} contradict each other; give one of them"));
    }
    // What is empty is not given.
    let empty = [("SERVISOR_ACCESS_TOKEN", ""), ("COMPUTESDK_ACCESS_TOKEN", ""), ("SERVISOR_ACCESS_TOKEN_FILE", "")];
    assert!(matches!(config(&["--no-auth"], &empty).auth, AuthSource::Off));
}

#[test]
fn origins_can_be_repeated() {
    let origins = config(&["--allow-origin", "http://a.b", "--allow-origin=https://c.d"], &[]).allow_origins;
    assert_eq!(origins.len(), 2);
    let origins = config(&[], &[("SERVISOR_ALLOW_ORIGIN", "http://a.b, *")]).allow_origins;
    assert_eq!(origins, [AllowedOrigin::parse("http://a.b").unwrap(), AllowedOrigin::Any]);
}

#[test]
fn mistakes_are_named_with_what_would_be_right() {
    for (options, variables, words) in [
        (&["--listne", "x"][..], &[][..], &["--listne", "did you mean --listen?"][..]),
        (&["--colour"], &[], &["--colour", "--help"]),
        (&["extra"], &[], &["extra"]),
        (&["--listen"], &[], &["--listen needs a value"]),
        (&["--root="], &[], &["--root needs a value"]),
        (&["--listen", "1.2.3.4"], &[], &["--listen", "1.2.3.4", "IP:PORT"]),
        (&["--listen", "1.2.3.4:70000"], &[], &["70000", "IP:PORT"]),
        (&["--listen", "unix:"], &[], &["no path"]),
        (&[], &[("SERVISOR_LISTEN", "x")], &["SERVISOR_LISTEN", "IP:PORT"]),
        (&["--root", "a", "--root", "b"], &[], &["--root is given more than once"]),
        (&["--public-url", "http://localhost"], &[], &["--public-url", "http://localhost", "{port}"]),
        (&["--public-url", "http://{host}:{port}"], &[], &["{host}", "{slug}"]),
        (&[], &[("SERVISOR_PUBLIC_URL", "x:{port}")], &["SERVISOR_PUBLIC_URL", "http://"]),
        (&["--log-level", "loud"], &[], &["--log-level", "loud", "error, warn, info, debug"]),
        (&["--log-buffer-bytes", "1"], &[], &["--log-buffer-bytes", "4096"]),
        (&["--log-buffer-bytes", "1MB"], &[], &["1MB"]),
        (&["--log-dir", "l", "--log-file-bytes", "0"], &[], &["--log-file-bytes", "4096"]),
        (&["--allow-origin", "example.com"], &[], &["--allow-origin", "scheme"]),
        (&["--no-auth=maybe"], &[], &["--no-auth", "true or false"]),
        (&["--no-auth", "--listen", "0.0.0.0:1"], &[], &["--no-auth", "0.0.0.0:1"]),
        (&["--no-auth", "--access-token-file", "x"], &[], &["contradict"]),
        (&["--no-auth", "--allow-origin", "*"], &[], &["any web page"]),
        (&[], &[("SERVISOR_ACCESS_TOKEN", "")], &["SERVISOR_ACCESS_TOKEN", "must not be empty"]),
        (&[], &[("SERVISOR_ACCESS_TOKEN", "a b")], &["SERVISOR_ACCESS_TOKEN", "ASCII"]),
        (&[], &[("COMPUTESDK_ACCESS_TOKEN", "a b")], &["COMPUTESDK_ACCESS_TOKEN", "ASCII"]),
    ] {
        let text = refusal(options, variables);
        for word in words {
            assert!(text.contains(word), "{text:?} does not have {word:?}");
        }
        assert!(!text.contains('\n'), "{text:?}");
    }
}

#[test]
fn help_is_printed_whatever_else_is_wrong() {
    for arguments in [&["--help"][..], &["-h"], &["--listen", "bad", "--help"]] {
        assert!(matches!(call(arguments, &[]), Ok(Invocation::Help(_))), "{arguments:?}");
    }
}

#[test]
fn odd_variables_are_warned_of() {
    let variables = [
        ("SERVISOR_LISTN", "x"),
        ("SERVISOR_RUN", "y"),
        ("SERVISOR_ADDRESS", "z"),
        ("COMPUTESDK_SETUP_B64", "e30="),
        ("PATH", "/bin"),
    ];
    let warnings = config(&[], &variables).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("SERVISOR_LISTN") && warnings[0].contains("did you mean SERVISOR_LISTEN?"));
}

#[test]
fn a_setup_file_wins_over_the_variable() {
    let variable = [("COMPUTESDK_SETUP_B64", "e30=")];
    assert_eq!(config(&[], &[]).setup, None);
    assert_eq!(config(&[], &[("COMPUTESDK_SETUP_B64", "")]).setup, None);
    assert_eq!(config(&[], &variable).setup, Some(setup::PayloadSource::Variable("e30=".into())));
    let file = Some(setup::PayloadSource::File("/etc/setup.json".into()));
    let both = config(&["--setup", "/etc/setup.json"], &variable);
    assert_eq!(both.setup, file);
    assert!(both.warnings[0].contains("COMPUTESDK_SETUP_B64 is not used"), "{:?}", both.warnings);
    assert_eq!(config(&[], &[("SERVISOR_SETUP", "/etc/setup.json")]).setup, file);
}

#[test]
fn the_help_names_every_option_and_fits_a_terminal() {
    for (place, (name, option)) in Opt::ALL.iter().enumerate() {
        assert!(help::TEXT.contains(&format!("  {name} ")), "{name}");
        assert_eq!(*option as usize, place);
    }
    assert!(help::TEXT.lines().all(|line| line.len() <= 80));
}

#[test]
fn the_help_has_no_other_options() {
    let named: Vec<&str> = help::TEXT
        .lines()
        .filter_map(|line| line.strip_prefix("  --")?.split(' ').next())
        .map(|name| Opt::ALL.iter().find(|(known, _)| known[2..] == *name).map_or(name, |(known, _)| known))
        .collect();
    assert_eq!(named, Opt::ALL.map(|(known, _)| known));
}

#[test]
fn the_defaults_of_the_help_are_those_of_the_code() {
    let (options, _) = help::TEXT.split_once("\n\nEach option").unwrap();
    let mut seen = 0;
    for text in options.split("\n  --").skip(1) {
        let name = format!("--{}", text.split(' ').next().unwrap());
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((_, default)) = words.strip_suffix(']').and_then(|words| words.rsplit_once(" [")) else { continue };
        // Their defaults depend on other options and on variables: `public_url.rs` and `state_directories` have them.
        if ["--public-url", "--state-dir"].contains(&name.as_str()) {
            continue;
        }
        let shown = |given: &[&str]| format!("{:?}", config(&[&["--proxy", "--log-dir", "l"], given].concat(), &[]));
        assert_eq!(shown(&[&name, default]), shown(&[]), "{name} {default}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn a_gateway_is_turned_on_and_may_have_an_address_of_its_own() {
    let of = |config: Config| (config.gateway, config.sandbox_url, config.warnings.len());
    assert_eq!(of(config(&[], &[])), (false, None, 0));
    assert_eq!(of(config(&["--gateway"], &[])), (true, None, 0));
    assert_eq!(of(config(&["--gateway=false"], &[("SERVISOR_GATEWAY", "1")])), (false, None, 0));
    let variables = [("SERVISOR_GATEWAY", "true"), ("SERVISOR_SANDBOX_URL", "https://sb.example.com/")];
    assert_eq!(of(config(&[], &variables)), (true, Some("https://sb.example.com".into()), 0));
    assert_eq!(of(config(&["--sandbox-url", "http://h:1/p"], &[])), (false, Some("http://h:1/p".into()), 1));
    for url in [
        "sb.example.com",
        "ftp://x",
        "https://",
        "https:///x",
        "https://:80",
        "https://x/?a",
        "https://a b",
        "http://{port}.x",
    ] {
        let why = call(&["--gateway", "--sandbox-url", url], &[]).unwrap_err().to_string();
        assert!(why.contains("--sandbox-url"), "{why}");
    }
    assert!(call(&["--gateway=perhaps"], &[]).unwrap_err().to_string().contains("true or false"));
}

#[test]
fn the_proxy_has_its_options_and_what_they_need() {
    let of = |options: &[&str], variables: &[(&str, &str)]| {
        let config = config(options, variables);
        (config.proxy, config.warnings)
    };
    let public = |listen: Option<&str>| ProxyConfig {
        listen: listen.map(|address| Listen::Tcp(address.parse().unwrap())),
        access: ProxyAccess::Public,
    };
    assert_eq!(of(&[], &[]), (None, vec![]));
    assert_eq!(of(&["--proxy"], &[]), (Some(public(None)), vec![]));
    assert_eq!(of(&["--proxy=no"], &[("SERVISOR_PROXY", "1")]).0, None);
    let variables =
        [("SERVISOR_PROXY", "1"), ("SERVISOR_PROXY_LISTEN", "0.0.0.0:80"), ("SERVISOR_PROXY_ACCESS", "key")];
    let keyed = ProxyConfig { access: ProxyAccess::Key, ..public(Some("0.0.0.0:80")) };
    assert_eq!(of(&[], &variables), (Some(keyed), vec![]));
    let unused = of(&["--proxy-listen", "0.0.0.0:80", "--proxy-access", "key"], &[]);
    let nothing = |name: &str| format!("{name} means nothing without --proxy");
    assert_eq!(unused, (None, vec![nothing("--proxy-listen"), nothing("--proxy-access")]));
    let warned = of(&["--proxy", "--allow-origin", "*"], &[]).1;
    assert!(warned.len() == 1 && warned[0].contains("--allow-origin \"*\""), "{warned:?}");
    assert!(of(&["--proxy", "--listen", "unix:/run/s", "--proxy-listen", "0.0.0.0:80"], &[]).0.is_some());
    for template in ["https://{slug}.example", "https://abc-{port}.example", "http://{slug}.localhost:18080"] {
        assert!(of(&["--proxy", "--public-url", template], &[]).0.is_some(), "{template}");
    }
    assert_eq!(config(&["--public-url", "https://{slug}.example"], &[]).proxy, None);
    for (options, words) in [
        (&["--proxy", "--no-auth"][..], "--proxy and --no-auth contradict each other"),
        (&["--proxy", "--public-url", "http://localhost:{port}"], "{slug} or {port} in its host"),
        (&["--proxy", "--public-url", "https://example/{slug}"], "{slug} or {port} in its host"),
        (&["--proxy", "--public-url", "http://{slug}:80"], "localhost"),
        (&["--proxy", "--listen", "unix:/run/s"], "--public-url"),
        (&["--proxy", "--proxy-listen", "example:80"], "--proxy-listen \"example:80\" must be IP:PORT"),
        (&["--proxy", "--proxy-access", "secret"], "--proxy-access must be one of \"public\", \"key\""),
        (&["--proxy=perhaps"], "true or false"),
    ] {
        let why = refusal(options, &[]);
        assert!(why.contains(words), "{options:?}: {why}");
    }
}
