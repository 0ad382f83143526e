//! Names of fields in other tools, and the field that each means here.
//!
//! Owns: the table of those names. Never: a value: a field with such a name gives a warning and is not used, since its
//! unit or form may differ.

use crate::error::{quoted, unknown};

/// Fields, each with the names that other tools have for it, in small letters without `_` and `-`. A field may occur
/// twice, for objects of different kinds: only the fields of the object at hand are searched.
const SLIPS: [(&str, &str); 29] = [
    ("slug", "name id server servername serverid"),
    ("start", "command cmd run exec script startcommand startcmd startscript entrypoint commandline program"),
    ("install", "installcommand installcmd setup setupcommand build buildcommand prestart preinstall startpre"),
    ("source", "src from template sourcepath sourcedir path"),
    ("target", "dest destination dst to mount mountpath targetpath targetdir"),
    ("ignore", "exclude excludes ignored ignores skip ignorepatterns"),
    ("strategy", "mode method copystrategy"),
    ("interval_ms", "interval period periodms periodseconds every"),
    ("timeout_ms", "timeout timeoutseconds timeoutsec"),
    ("delay_ms", "delay startperiod startinterval initialdelay initialdelayms initialdelayseconds"),
    ("restart_after_failures", "retries failurethreshold threshold maxfailures maxretries unhealthythreshold"),
    ("path", "cwd workdir workingdir workingdirectory dir directory folder url uri endpoint route test httpget"),
    ("port", "ports listenport httpport serverport portnumber targetport expose"),
    ("strict_port", "portstrict exactport"),
    ("environment", "env envs envvars environmentvariables environmentvars vars variables"),
    ("env_file", "environmentfile dotenv dotenvfile envpath"),
    ("restart_policy", "restart restartmode autorestart restartpolicyname"),
    ("max_restarts", "restartlimit restartmax maxretries retries startretries startlimitburst"),
    ("restart_delay_ms", "restartsec restartwait backoff delay"),
    ("restart_delay_max_ms", "maxrestartdelay maxbackoff backoffmax restartmaxdelay"),
    ("stop_timeout_ms", "graceperiod stopgraceperiod killtimeout gracefultimeout shutdowntimeout stopwaitsecs timeout"),
    ("autostart", "enabled enable startonboot"),
    ("health_check", "health check probe readinessprobe livenessprobe readiness healthz"),
    ("depends_on", "dependencies depends needs after requires waitfor"),
    ("overlays", "templates mounts volumes copies"),
    ("stop_signal", "killsignal signal stopsig"),
    ("stop_mode", "killmode"),
    ("start_on_visit", "startonrequest wakeonrequest ondemand lazy"),
    ("idle_stop_ms", "idletimeout sleepafter stopafteridle idlestop"),
];

/// The longest of these names, in bytes.
const NAME_MAX: usize = 24;

/// The one of `known` that `name` means in another tool.
pub fn meant<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > NAME_MAX {
        return None;
    }
    let plain: String = name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect();
    let fits = |field: &str| {
        let plain_field = field.chars().filter(|&c| c != '_');
        plain.chars().eq(plain_field)
            || SLIPS.iter().any(|(of, names)| *of == field && names.split(' ').any(|slip| slip == plain))
    };
    known.iter().copied().find(|field| fits(field))
}

/// The warning about an unknown `what` called `name`; `known` are the known names.
pub fn warning(what: &str, name: &str, known: &[&str]) -> String {
    match meant(name, known) {
        Some(field) => format!("unknown {what} {} was ignored; did you mean {}?", quoted(name), quoted(field)),
        None => unknown(what, name, known),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::{overlay_spec, server_spec, tests::known};
    use super::*;

    #[test]
    fn every_entry_can_be_met_and_no_field_is_a_slip_for_another() {
        let all: Vec<&str> = known().into_iter().flat_map(|(_, names)| names).collect();
        for (field, names) in SLIPS {
            assert!(all.contains(&field), "{field}");
            for slip in names.split(' ') {
                assert!(slip.len() <= NAME_MAX && slip.bytes().all(|byte| byte.is_ascii_lowercase()), "{slip}");
                assert_eq!(meant(slip, &[field]), Some(field));
            }
        }
        assert_eq!(meant(&"x".repeat(NAME_MAX + 1), &all), None);
    }

    #[test]
    fn the_words_of_other_tools_are_answered_with_ours() {
        for (slip, field) in [
            ("command", "start"),
            ("cmd", "start"),
            ("startCommand", "start"),
            ("restartPolicy", "restart_policy"),
            ("restart", "restart_policy"),
            ("healthCheck", "health_check"),
            ("healthcheck", "health_check"),
            ("readinessProbe", "health_check"),
            ("envFile", "env_file"),
            ("env", "environment"),
            ("cwd", "path"),
            ("workdir", "path"),
            ("working_dir", "path"),
            ("WorkingDirectory", "path"),
            ("dependsOn", "depends_on"),
            ("maxRetries", "max_restarts"),
            ("stop_grace_period", "stop_timeout_ms"),
            ("installCommand", "install"),
            ("timeout", "stop_timeout_ms"),
            ("restart_sec", "restart_delay_ms"),
        ] {
            let body = json!({"slug": "a", "start": "b", slip: "x"}).to_string();
            let (_, warnings) = server_spec(body.as_bytes(), Path::new("/")).unwrap();
            assert_eq!(warnings, [format!("unknown field {slip:?} was ignored; did you mean {field:?}?")]);
        }
        for (slip, field) in [
            ("url", "path"),
            ("endpoint", "path"),
            ("interval", "interval_ms"),
            ("intervalMs", "interval_ms"),
            ("timeout", "timeout_ms"),
            ("initialDelaySeconds", "delay_ms"),
            ("start_period", "delay_ms"),
            ("retries", "restart_after_failures"),
            ("failureThreshold", "restart_after_failures"),
        ] {
            let body = json!({"slug": "a", "start": "b", "health_check": {slip: 1}}).to_string();
            let (_, warnings) = server_spec(body.as_bytes(), Path::new("/")).unwrap();
            let expected = format!("unknown field of health_check {slip:?} was ignored; did you mean {field:?}?");
            assert_eq!(warnings, [expected]);
        }
        for (slip, field) in [("exclude", "ignore"), ("src", "source"), ("dest", "target"), ("mode", "strategy")] {
            let overlay = json!({"source": "/t", "target": "a", slip: []});
            let (_, warnings) = overlay_spec(overlay.to_string().as_bytes()).unwrap();
            assert_eq!(warnings, [format!("unknown field {slip:?} was ignored; did you mean {field:?}?")]);
            for (place, body) in [
                ("overlay", json!({"slug": "a", "start": "b", "overlay": overlay})),
                ("overlays[0]", json!({"slug": "a", "start": "b", "overlays": [overlay]})),
            ] {
                let (_, warnings) = server_spec(body.to_string().as_bytes(), Path::new("/")).unwrap();
                let expected = format!("unknown field of {place} {slip:?} was ignored; did you mean {field:?}?");
                assert_eq!(warnings, [expected]);
            }
        }
    }

    #[test]
    fn what_is_missing_is_looked_for_under_the_names_of_other_tools() {
        for (body, field, slip) in [
            (json!({"slug": "a", "command": "b"}), "start", "command"),
            (json!({"slug": "a", "cmd": "b"}), "start", "cmd"),
            (json!({"name": "a", "start": "b"}), "slug", "name"),
            (json!({"slug": "a", "startCommand": "b", "port": 1}), "start", "startCommand"),
        ] {
            let error = server_spec(body.to_string().as_bytes(), Path::new("/")).unwrap_err();
            assert_eq!(error.sentence(), format!("{field} is required; did you mean it by {slip:?}?"));
        }
        let error = overlay_spec(br#"{"from": "/t", "destination": "a"}"#).unwrap_err();
        assert_eq!(
            error.sentence(),
            "source is required; did you mean it by \"from\"?; target is required; did you mean it by \"destination\"?"
        );
    }
}
