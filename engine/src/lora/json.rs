//! JSON from strangers: fields whose content is kept as far as somebody may want to see it, whatever its length. A
//! general JSON value takes up to thirty times the memory of its text.

use crate::weights::refuse_text;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::marker::PhantomData;

/// Entries of a list or a table that are kept.
pub(super) const MAX_ENTRIES: usize = 64;
/// Characters of a short text that are kept.
pub(super) const MAX_LINE: usize = 200;

/// At most `most` characters, none of them a control character.
pub(super) fn line(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// The start of a message that may repeat what a file says.
pub(super) fn brief(message: &impl Display) -> String {
    struct Start {
        text: String,
        left: usize,
    }
    impl Write for Start {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars().filter(|c| !c.is_control()) {
                self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
                self.text.push(c);
            }
            Ok(())
        }
    }
    let mut start = Start { text: String::new(), left: MAX_LINE };
    if write!(start, "{message}").is_err() {
        start.text.push('\u{2026}');
    }
    start.text
}

/// A table with the fields of `T`.
pub(super) fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<T, D::Error> {
    struct Fields<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        refuse_text!();

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(table))
        }
    }
    json.deserialize_any(Fields(PhantomData))
}

/// A whole text that is a [`table`].
pub(super) fn whole<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let found = table(&mut json)?;
    json.end()?;
    Ok(found)
}

/// A number or a truth value.
pub(super) fn plain<'de, D: Deserializer<'de>, T: DeserializeOwned>(json: D) -> Result<T, D::Error> {
    match Scalar::deserialize(json)?.0 {
        Some(value) => T::deserialize(value).map_err(D::Error::custom),
        None => Err(D::Error::custom("invalid type: a list or a table")),
    }
}

/// A value that is no list and no table, a text cut to [`MAX_LINE`]; `None` of those two.
pub(super) struct Scalar(pub Option<Value>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Any).map(|found| match found {
            Seen::Scalar(value) => Self(Some(value)),
            Seen::Several(_) => Self(None),
        })
    }
}

/// Whether a setting is made: anything but `null`, `{}` and `[]`.
#[derive(Default)]
pub(super) struct IsSet(pub bool);

impl<'de> Deserialize<'de> for IsSet {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Any).map(|found| match found {
            Seen::Scalar(value) => Self(!value.is_null()),
            Seen::Several(any) => Self(any),
        })
    }
}

/// What a value is.
enum Seen {
    Scalar(Value),
    /// A list or a table, and whether anything is in it.
    Several(bool),
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Seen, E> {
        Ok(Seen::Scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Seen, E> {
        Ok(Seen::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Seen, E> {
        Ok(Seen::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Seen, E> {
        Ok(Seen::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Seen, E> {
        Ok(Seen::Scalar(value.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Seen, E> {
        Ok(Seen::Scalar(line(text, MAX_LINE).into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Seen, A::Error> {
        let mut any = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Seen::Several(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Seen, A::Error> {
        let mut any = false;
        while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Seen::Several(any))
    }
}

/// The first texts of a list, each cut to [`MAX_LINE`]; what is no text is left out.
pub(super) fn texts<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<String>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts")
        }

        refuse_text!();

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX_ENTRIES {
                match list.next_element()? {
                    Some(Scalar(Some(Value::String(text)))) => kept.push(text),
                    Some(_) => {}
                    None => return Ok(kept),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    json.deserialize_any(List)
}

/// The first entries of a table that are no lists and no tables themselves.
pub(super) fn scalars<'de, D: Deserializer<'de>>(json: D) -> Result<BTreeMap<String, Value>, D::Error> {
    struct Table;
    impl<'de> Visitor<'de> for Table {
        type Value = BTreeMap<String, Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        refuse_text!();

        fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some((name, Scalar(value))) = table.next_entry::<String, Scalar>()? {
                if let (Some(value), true) = (value, kept.len() < MAX_ENTRIES) {
                    kept.insert(line(&name, MAX_LINE), value);
                }
            }
            Ok(kept)
        }
    }
    json.deserialize_any(Table)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_are_made_are_told_from_those_that_are_not() {
        for (text, is_set) in [
            ("null", false),
            ("[]", false),
            ("{}", false),
            ("[null]", true),
            (r#"{"q": {}}"#, true),
            ("0", true),
            ("-1", true),
            ("1e3", true),
            ("false", true),
            (r#""""#, true),
        ] {
            assert_eq!(serde_json::from_str::<IsSet>(text).unwrap().0, is_set, "{text}");
        }
    }

    #[test]
    fn long_lists_and_tables_lose_their_ends() {
        #[derive(Deserialize)]
        struct Both {
            #[serde(deserialize_with = "texts")]
            list: Vec<String>,
            #[serde(deserialize_with = "scalars")]
            table: BTreeMap<String, Value>,
        }
        let list: Vec<Value> =
            (0..1000).map(|n| if n == 1 { json!([n]) } else { json!(format!("{n}\n")) }).collect();
        let mut table: BTreeMap<String, Value> = (0..1000).map(|n| (format!("{n:04}"), json!(n))).collect();
        table.insert("0000".into(), json!({"deep": [1]}));
        table.insert("0001".into(), json!("x".repeat(1000)));
        let both: Both = serde_json::from_str(&json!({"list": list, "table": table}).to_string()).unwrap();
        assert_eq!((both.list.len(), both.list[0].as_str(), both.list[1].as_str()), (64, "0", "2"));
        assert_eq!((both.table.len(), &both.table["0002"]), (64, &json!(2)));
        assert_eq!(both.table["0001"], "x".repeat(200));
    }

    #[test]
    fn messages_are_cut() {
        assert_eq!(brief(&"no\u{7}\n number"), "no number");
        assert_eq!(brief(&"ä".repeat(1000)), "ä".repeat(200) + "\u{2026}");
    }
}
