//! The iXML chunk: scene, take and note, the Universal Category System's fields, and the whole provenance.

use super::{Export, metadata::title, naming::title_case, ucs};
use crate::clip::{Provenance, provenance::MAX_JSON_BYTES};

/// The element that holds the provenance, in one of our own.
const OPEN: &str = "<PROVENANCE>";
const CLOSE: &str = "</PROVENANCE>";

/// Content of the iXML chunk (<http://www.gallery.co.uk/ixml/>). Sound libraries keep their fields in `USER`, by
/// the names that Soundminer gave them.
pub(super) fn ixml(provenance: &Provenance, export: &Export) -> Vec<u8> {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<BWFXML>");
    element(&mut xml, "IXML_VERSION", "1.61");
    element(&mut xml, "PROJECT", "SoundLoCD");
    element(&mut xml, "SCENE", &title(provenance.title()));
    element(&mut xml, "TAKE", &(u64::from(provenance.variation) + 1).to_string());
    element(&mut xml, "NOTE", &provenance.prompt);
    xml += "<USER>";
    element(&mut xml, "FXNAME", &title_case(provenance.title()));
    if let Some(category) = ucs::categorize(provenance.title()) {
        element(&mut xml, "CATID", category.id);
        element(&mut xml, "CATEGORY", category.category);
        element(&mut xml, "SUBCATEGORY", category.sub_category);
        element(&mut xml, "CATEGORYFULL", &format!("{}-{}", category.category, category.sub_category));
    }
    element(&mut xml, "DESCRIPTION", &provenance.prompt);
    element(&mut xml, "KEYWORDS", &export.keywords.join(", "));
    element(&mut xml, "DESIGNER", &export.artist);
    element(&mut xml, "LIBRARY", "SoundLoCD");
    xml += "</USER><SOUNDLOCD>";
    let json = provenance.to_json();
    // What is too long to be read back is not written; no request can cause that.
    if json.len() <= MAX_JSON_BYTES {
        xml += &format!("{OPEN}{}{CLOSE}", escape(&without_controls(&json)));
    }
    xml += "</SOUNDLOCD></BWFXML>\n";
    let mut xml = xml.into_bytes();
    if !xml.len().is_multiple_of(2) {
        xml.push(b'\n');
    }
    xml
}

/// Appends an element, unless there is nothing to say.
fn element(xml: &mut String, name: &str, text: &str) {
    if !text.trim().is_empty() {
        *xml += &format!("<{name}>{}</{name}>", escape(text));
    }
}

/// The provenance in the content of an iXML chunk.
pub(super) fn provenance(xml: &[u8]) -> Option<Provenance> {
    let xml = std::str::from_utf8(xml).ok()?;
    // No text can look like our elements: there `<` is written as an entity.
    let (_, own) = xml.split_once("<SOUNDLOCD>")?;
    let (text, _) = own.split_once(OPEN)?.1.split_once(CLOSE)?;
    // No entity that we write is longer than five bytes.
    if text.len() > 5 * MAX_JSON_BYTES {
        return None;
    }
    Provenance::from_json(htmlize::unescape(text).as_bytes())
}

/// JSON whose strings hold no character that XML cannot.
fn without_controls(json: &str) -> String {
    json.chars()
        .map(|c| if is_no_xml(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
        .collect()
}

/// The text in XML, with a space for what XML cannot hold, not even escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            c if is_no_xml(c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Control characters (XML allows some of them, readers differ) and the two that are no characters.
fn is_no_xml(c: char) -> bool {
    c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}
