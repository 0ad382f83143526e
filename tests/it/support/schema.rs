//! As much of OpenAPI and JSON Schema as this daemon's own document uses, to hold answers against it.

use serde_json::Value;

/// The document, as the daemon serves it.
pub struct Document(pub Value);

impl Document {
    /// What is wrong with an answer of `status` to `method` on `path`, as the document writes it.
    pub fn fault(&self, method: &str, path: &str, status: u16, content_type: &str, body: &[u8]) -> Result<(), String> {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        let code = status.to_string();
        let reported = match &operation["responses"][&code] {
            Value::Null if status >= 400 => &operation["responses"]["default"],
            reported => reported,
        };
        let reported = self.resolved(reported);
        if reported.is_null() {
            return Err(format!("status {status} is not documented"));
        }
        let kind = content_type.split(';').next().unwrap_or_default();
        match (&reported["content"], body) {
            (Value::Null, []) => Ok(()),
            (Value::Null, _) => Err("there is a body".into()),
            (content, _) if content[kind].is_null() => Err(format!("content type {content_type:?} is not documented")),
            (content, _) if kind != "application/json" => match &content[kind]["schema"]["type"] {
                Value::String(word) if word == "string" => Ok(()),
                other => Err(format!("{kind} is {other}")),
            },
            (content, _) => {
                let value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
                self.check(&content[kind]["schema"], &value, "", &[])
            }
        }
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(place) => self.0.pointer(&place[1..]).unwrap_or(&Value::Null),
            None => schema,
        }
    }

    /// Stricter than a schema is by itself: a member that is not documented is a fault. `more` are schemas whose
    /// members are documented beside those of this one.
    fn check(&self, schema: &Value, value: &Value, at: &str, more: &[&Value]) -> Result<(), String> {
        let schema = self.resolved(schema);
        let fault = |what: &str| Err(format!("{at}: {what}: {value}"));
        for word in schema.as_object().into_iter().flat_map(|schema| schema.keys()) {
            let known = "type required properties additionalProperties propertyNames items maxItems enum const anyOf allOf \
                         minimum maximum minLength maxLength pattern format default description";
            assert!(known.split_whitespace().any(|known| known == word), "{word} is not known here");
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let is = |kind: &str| match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64() || value.is_i64(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("type {other} is not known here"),
        };
        if !types.is_empty() && !types.into_iter().any(is) {
            return fault("another type");
        }
        let number = |bound: &str| schema[bound].as_f64().zip(value.as_f64());
        if number("minimum").is_some_and(|(least, number)| number < least)
            || number("maximum").is_some_and(|(most, number)| number > most)
        {
            return fault("out of range");
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return fault("another word");
        }
        if schema.get("const").is_some_and(|only| only != value) {
            return fault("another value");
        }
        if schema["format"] == "date-time" && value.as_str().is_none_or(|text| text.len() != 24 || !text.ends_with('Z'))
        {
            return fault("no time");
        }
        for (place, member) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], member, &format!("{at}[{place}]"), &[])?;
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            if !choices.iter().any(|choice| self.check(choice, value, at, &[]).is_ok()) {
                return fault("none of them");
            }
            return Ok(());
        }
        let bases: Vec<&Value> = schema["allOf"].as_array().into_iter().flatten().collect();
        let own = [more, &[schema][..], &bases].concat();
        for base in &bases {
            self.check(base, value, at, &own)?;
        }
        self.check_members(schema, value, at, &own)
    }

    fn check_members(&self, schema: &Value, value: &Value, at: &str, all: &[&Value]) -> Result<(), String> {
        let Some(members) = value.as_object() else {
            let is_object = !schema["properties"].is_null();
            return if is_object { Err(format!("{at}: no object: {value}")) } else { Ok(()) };
        };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Err(format!("{at}: {name} is missing: {value}"));
            }
        }
        // An object of which nothing is documented can be any.
        let is_open = schema["properties"].is_null() && schema["additionalProperties"].is_null();
        for (name, member) in members {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null) => {
                    let is_known = all.iter().any(|other| !self.resolved(other)["properties"][name].is_null());
                    if !is_known && !is_open {
                        return Err(format!("{at}: is not documented"));
                    }
                }
                (Value::Null, values) => self.check(values, member, &at, &[])?,
                (own, _) => self.check(own, member, &at, &[])?,
            }
        }
        Ok(())
    }
}
