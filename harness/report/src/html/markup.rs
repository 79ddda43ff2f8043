//! Markup that is well-formed and escaped because it cannot be written otherwise.

use std::fmt::{self, Display, Write};

/// An element's attributes; their values are escaped.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// A document under construction: what is opened is closed, and text is escaped on its way in.
#[derive(Debug, Default)]
pub struct Markup(String);

impl Markup {
    /// Adds an element around what `content` adds.
    pub fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        content: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        self.0.push('>');
        content(self);
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// Adds an element with nothing but text in it.
    pub fn leaf(&mut self, tag: &'static str, attributes: Attributes<'_>, text: impl Display) {
        self.element(tag, attributes, |markup| markup.text(text));
    }

    /// Adds an element that has no content, in the form that HTML and SVG both accept.
    pub fn void(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.open(tag, attributes);
        self.0.push_str("/>");
    }

    /// Adds text.
    pub fn text(&mut self, text: impl Display) {
        // Writing into a String fails only if `text` itself says so; what it wrote stays.
        let _ = write!(Escape(&mut self.0), "{text}");
    }

    /// Adds text as it is. Being `'static`, it comes from this program and not from a run.
    pub fn verbatim(&mut self, text: &'static str) {
        self.0.push_str(text);
    }

    /// The document.
    pub fn into_string(self) -> String {
        self.0
    }

    fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(character),
                // A document must not hold these, escaped or not.
                control if control.is_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                plain => self.0.push(plain),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paragraph(text: &str) -> String {
        let mut markup = Markup::default();
        markup.element("p", &[("title", &text)], |markup| {
            markup.text(text);
            markup.void("br", &[]);
        });
        markup.into_string()
    }

    #[test]
    fn text_and_attributes_are_escaped() {
        let check = |text, escaped: &str| {
            assert_eq!(paragraph(text), format!("<p title=\"{escaped}\">{escaped}<br/></p>"));
        };
        check("plain, 1 ms", "plain, 1 ms");
        check("<b> & \"it's\"", "&lt;b&gt; &amp; &quot;it&#39;s&quot;");
        check("a\0b\u{1b}[2Kc", "a\u{fffd}b\u{fffd}[2Kc");
    }

    proptest! {
        #[test]
        fn no_text_makes_tags(text in any::<String>()) {
            let html = paragraph(&text);
            prop_assert_eq!((html.matches('<').count(), html.matches('>').count()), (3, 3));
            prop_assert_eq!(html.matches('"').count(), 2);
        }
    }
}
