//! Takes the members of a JSON object one by one and collects everything that is wrong with them.
//!
//! Owns: types, ranges, what is missing, what is unknown or given twice. Never: what a field means.
//!
//! A `null` member counts as missing. The names that are taken are the known names: there is no second list.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::slips;
use super::value::{depth, described, not_a, whole};
use crate::error::{Code, Error, WARNINGS_MAX, WRONG_MAX, Wrong, hint, one_of, quoted};
use crate::json::{self, Map, Value};
use crate::model::spec::{DURATION_MAX, Port};
use crate::sorted::Sorted;

/// The limit of nesting; a configuration needs four. The limit of `serde_json`, 128, takes 64 KiB of stack, in a debug
/// build 256: all that a connection's thread has.
const DEPTH_MAX: usize = 32;

/// An object whose members have not all been taken yet.
pub struct Fields {
    members: Map,
    known: Vec<&'static str>,
    wrong: Vec<Wrong>,
    /// The number of further errors, beyond the limit of `wrong`.
    more_wrong: usize,
    warnings: Vec<String>,
}

impl Fields {
    /// Reads the object that is all of `body`.
    ///
    /// # Errors
    /// 400, naming the place, when it is no JSON; 422 when it is JSON and no object.
    pub fn read(body: &[u8]) -> Result<Fields, Error> {
        // Some editors write an invisible byte order mark.
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        if body.trim_ascii().is_empty() {
            return Err(Error::new(Code::Malformed, "the body is empty; a JSON object has to be sent"));
        }
        if depth(body) > DEPTH_MAX {
            return Err(Error::new(Code::Malformed, format!("the body is nested more than {DEPTH_MAX} deep")));
        }
        let malformed =
            |error: serde_json::Error| Error::new(Code::Malformed, format!("the body is not valid JSON: {error}"));
        let (value, twice) = json::parse_noting(body).map_err(malformed)?;
        let Value::Object(members) = value else {
            return Err(Error::new(Code::Invalid, "the body must be a JSON object"));
        };
        let mut fields = Fields::of(members);
        for name in twice.iter().take(WARNINGS_MAX) {
            fields.warn(format!("field {} is given twice; the last one counts", quoted(name)));
        }
        Ok(fields)
    }

    /// Takes `name`, a text that `parse` can read; its error is a phrase that fits after the name.
    pub fn text<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.plain_text(name)?;
        parse(&text).map_err(|why| self.blame(name, why)).ok()
    }

    /// Takes `name`, one of the words of `all`.
    pub fn word<T: Copy>(&mut self, name: &'static str, all: &[(&'static str, T)]) -> Option<T> {
        self.text(name, |text| one_of(text, all))
    }

    // Not generic from here on.
    #[inline(never)]
    fn plain_text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.blame_type(name, "a text in quotes", &other);
                None
            }
        }
    }

    /// Takes `name` as [`Fields::text`] does; a whole number counts as its digits.
    pub fn text_or_number<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if let Some(value) = self.members.get_mut(name)
            && let Some(number) = whole(value)
        {
            *value = Value::String(number.to_string());
        }
        self.text(name, parse)
    }

    /// Takes `name` as [`Fields::text`] does, and reports it if it is missing.
    pub fn required_text<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.require(name);
        self.text(name, parse)
    }

    /// Reports that `name` is missing, if it is.
    pub fn require(&mut self, name: &'static str) {
        if self.members.get(name).is_none_or(Value::is_null) {
            let others = self.members.keys().filter(|other| *other != name);
            let others: Vec<&str> = others.take(WARNINGS_MAX).collect();
            let hint = match others.iter().find(|other| slips::meant(other, &[name]).is_some()) {
                Some(other) => format!("; did you mean it by {}?", quoted(other)),
                None => hint(name, &others).replace("did you mean", "did you mean it by"),
            };
            self.blame(name, format!("is required{hint}"));
        }
    }

    /// Takes `name`, an object of any content.
    pub fn members(&mut self, name: &'static str) -> Option<Map> {
        match self.take(name)? {
            Value::Object(members) => Some(members),
            other => {
                self.blame_type(name, "an object", &other);
                None
            }
        }
    }

    /// Takes `name`, a whole number in `range`, which has only numbers that `N` can have.
    pub fn number<N: TryFrom<u64>>(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<N> {
        N::try_from(self.whole(name, range)?).ok()
    }

    #[inline(never)]
    fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let number = whole(&value).filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            self.blame(name, format!("must be a whole number from {least} to {most}, not {}", described(&value)));
        }
        number
    }

    /// Takes `name`, a time in milliseconds of which there have to be at least `least`.
    pub fn millis(&mut self, name: &'static str, least: u64) -> Option<Duration> {
        let most = u64::try_from(DURATION_MAX.as_millis()).unwrap_or(u64::MAX);
        self.number(name, least..=most).map(Duration::from_millis)
    }

    /// Takes `name`, true or false.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            other => {
                self.blame_type(name, "true or false", &other);
                None
            }
        }
    }

    /// Takes `name`, an object, whose members `read` takes; what is wrong with them is reported under `name.`.
    pub fn object<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Fields) -> T) -> Option<T> {
        let mut inner = Fields::of(self.members(name)?);
        let taken = read(&mut inner);
        self.adopt(name, inner);
        Some(taken)
    }

    /// Takes `name`, a list of at most `most` texts that `parse` can read; its error is a phrase that fits after the
    /// name.
    pub fn texts<T>(
        &mut self,
        name: &'static str,
        most: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let mut good = Vec::new();
        self.each(name, most, "texts", &mut |_, _, value| match value {
            Value::String(text) => parse(&text).map(|taken| good.push(taken)),
            other => Err(not_a("a text in quotes", &other)),
        })?;
        Some(good)
    }

    /// Takes `name`, a list of at most `most` port numbers.
    pub fn ports(&mut self, name: &'static str, most: usize) -> Option<Vec<Port>> {
        let mut good = Vec::new();
        self.each(name, most, "port numbers", &mut |_, _, value| {
            let port = whole(&value).and_then(|number| Port::new(u16::try_from(number).ok()?));
            good.push(port.ok_or_else(|| not_a("a whole number from 1 to 65535", &value))?);
            Ok(())
        })?;
        Some(good)
    }

    /// Takes `name`, a list of at most `most` objects, whose members `read` takes; what is wrong with one is reported
    /// under `name[place].`. Returns what could be read.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        most: usize,
        read: &mut dyn FnMut(&mut Fields) -> Option<T>,
    ) -> Vec<T> {
        let mut taken = Vec::new();
        self.each_object(name, most, &mut |inner| taken.extend(read(inner)));
        taken
    }

    fn each_object(&mut self, name: &'static str, most: usize, read: &mut dyn FnMut(&mut Fields)) {
        self.each(name, most, "objects", &mut |fields, place, value| match value {
            Value::Object(members) => {
                let mut inner = Fields::of(members);
                read(&mut inner);
                fields.adopt(place, inner);
                Ok(())
            }
            other => Err(not_a("an object", &other)),
        });
    }

    /// Takes `name`, a list of at most `most` members, and has `take` read each; its error is a phrase that fits after
    /// the place.
    fn each(&mut self, name: &'static str, most: usize, what: &str, take: &mut TakeMember<'_>) -> Option<()> {
        let list = match self.take(name)? {
            Value::Array(list) if list.len() <= most => list,
            Value::Array(list) => {
                self.blame(name, format!("has {} members; {most} are allowed", list.len()));
                return None;
            }
            other => {
                self.blame_type(name, &format!("a list of {what}"), &other);
                return None;
            }
        };
        for (number, value) in list.into_iter().enumerate() {
            let place = format!("{name}[{number}]");
            if let Err(why) = take(self, &place, value) {
                self.blame(&place, why);
            }
        }
        Some(())
    }

    /// Accepts `name` without a warning, and ignores it.
    pub fn ignore(&mut self, name: &'static str) {
        self.take(name);
    }

    /// Adds the errors and warnings of the object at `place`.
    fn adopt(&mut self, place: &str, inner: Fields) {
        let (wrong, more, mut warnings) = inner.close(&format!("field of {place}"));
        for Wrong { field, why } in wrong {
            self.blame(&format!("{place}.{field}"), why);
        }
        self.more_wrong += more;
        warnings.truncate(WARNINGS_MAX.saturating_sub(self.warnings.len()));
        self.warnings.append(&mut warnings);
    }

    /// Takes all members that are left. `parse` reads each; its error is a phrase that fits after the name.
    pub fn rest<T>(&mut self, parse: impl Fn(&str, &Value) -> Result<T, String>) -> Sorted<String, T> {
        let mut good = Sorted::default();
        for (name, value) in std::mem::take(&mut self.members) {
            match parse(&name, &value) {
                Ok(taken) => drop(good.insert(name, taken)),
                Err(why) => {
                    let plain =
                        !name.is_empty() && name.len() <= 60 && name.bytes().all(|byte| byte.is_ascii_graphic());
                    self.blame(&if plain { name } else { quoted(&name) }, why);
                }
            }
        }
        good
    }

    /// Reports that `name` is wrong; `why` fits after the name.
    #[inline(never)]
    pub fn blame(&mut self, name: &str, why: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(Wrong { field: name.to_owned(), why });
        } else {
            self.more_wrong += 1;
        }
    }

    #[cold]
    fn blame_type(&mut self, name: &str, wanted: &str, value: &Value) {
        self.blame(name, not_a(wanted, value));
    }

    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The errors and the warnings; members that were not taken give warnings as unknown `what`s. If there are very
    /// many errors, the last entry has the number of the others.
    pub fn finish(self, what: &str) -> (Vec<Wrong>, Vec<String>) {
        let (mut wrong, more, warnings) = self.close(what);
        if more > 0 {
            wrong.push(Wrong { field: "*".into(), why: format!("stands for {more} more that are wrong") });
        }
        (wrong, warnings)
    }

    /// The warnings, if nothing was wrong.
    ///
    /// # Errors
    /// 422 with every field that is wrong.
    pub fn accept(self) -> Result<Vec<String>, Error> {
        let (wrong, warnings) = self.finish("field");
        if wrong.is_empty() { Ok(warnings) } else { Err(Error::invalid(wrong)) }
    }

    /// As [`Fields::finish`], with the number of the others by itself.
    pub fn close(self, what: &str) -> (Vec<Wrong>, usize, Vec<String>) {
        let mut warnings = self.warnings;
        warnings.truncate(WARNINGS_MAX);
        for name in self.members.keys().take(WARNINGS_MAX - warnings.len()) {
            warnings.push(slips::warning(what, name, &self.known));
        }
        (self.wrong, self.more_wrong, warnings)
    }

    /// The names that were taken so far.
    #[cfg(test)]
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// The members of an object that was read before.
    pub fn of(members: Map) -> Fields {
        Fields { members, known: Vec::new(), wrong: Vec::new(), more_wrong: 0, warnings: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.members.remove(name).filter(|value| !value.is_null())
    }
}

/// Reads a member of a list, whose place is given.
type TakeMember<'a> = dyn FnMut(&mut Fields, &str, Value) -> Result<(), String> + 'a;
