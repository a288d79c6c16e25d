//! JUnit's XML, as test runners of all kinds write it: how many tests ran, and what those said
//! that failed.
//!
//! Nobody owns the format. What counts here is what its writers agree in: a `testcase` is one
//! test; `failure` or `error` in it is a failure, `skipped` a test that did not run, and what is
//! called `flakyFailure` or `flakyError` by Maven's Surefire and by nextest is a failure before
//! a pass.
//!
//! A file is read in one pass and in little memory, whatever is in it: long texts are shortened
//! before they are looked at, and entities of its own stand for nothing.

use std::io::{self, BufReader, Read};

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape_with};
use quick_xml::events::{BytesStart, Event};

use crate::model::{TestCase, TestReport, TestVerdict};

/// No more of a text or of an attribute is looked at, in bytes.
const TEXT: usize = 16 << 10;

/// No more of what a test said is kept, in bytes.
const MESSAGE: usize = 1024;

/// No more of a name is kept, in bytes.
const NAME: usize = 300;

/// An element has no more attributes than fit into so many bytes.
const MARKUP: usize = 4 << 20;

/// Elements are nested no deeper.
const DEPTH: usize = 100;

/// Messages that say no more than the element does.
const EMPTY_WORDS: [&str; 5] = ["", "failed", "failure", "error", "test failure"];

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum JunitError {
    /// It is no XML, or not all of it.
    #[error(transparent)]
    Xml(#[from] quick_xml::Error),
    /// It ends inside an element.
    #[error("it ends before its elements do")]
    Incomplete,
    /// It is nested deeper than any of its kind.
    #[error("its elements are nested more than {DEPTH} deep")]
    Deep,
    /// It is XML of another kind.
    #[error("it begins with <{0}>, and not with <testsuites> or <testsuite>")]
    Other(String),
}

/// Adds what a file says to `report`; `place` tells of a text which place in the tree it names.
///
/// # Errors
/// Where it cannot be understood; `report` is as it was, then.
pub(super) fn read(
    file: impl Read,
    report: &mut TestReport,
    place: impl Fn(&str) -> Option<String>,
) -> Result<(), JunitError> {
    let mut found = TestReport::default();
    let mut reader = Reader::from_reader(BufReader::with_capacity(64 << 10, Shortened::new(file)));
    // Long texts are cut anywhere.
    reader.config_mut().allow_dangling_amp = true;
    let mut buffer = Vec::new();
    let mut depth = 0usize;
    // Of the case that is open.
    let mut case: Option<Case> = None;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer)? {
            Event::Start(tag) => {
                if depth == 0 {
                    expect_root(&tag)?;
                }
                depth += 1;
                if depth > DEPTH {
                    return Err(JunitError::Deep);
                }
                match &mut case {
                    Some(case) => case.begin(&tag),
                    None if is_case(&tag) => case = Some(Case::new(&tag)),
                    None => {}
                }
            }
            Event::Empty(tag) => {
                if depth == 0 {
                    expect_root(&tag)?;
                }
                match &mut case {
                    Some(case) => {
                        case.begin(&tag);
                        case.end();
                    }
                    None if is_case(&tag) => {
                        add(&mut found, Case::new(&tag), &place);
                    }
                    None => {}
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                if tag.local_name().as_ref() == "testcase" {
                    if let Some(case) = case.take() {
                        add(&mut found, case, &place);
                    }
                } else if let Some(case) = &mut case {
                    case.end();
                }
            }
            Event::Text(text) => {
                if let Some(case) = &mut case {
                    case.text(&text);
                }
            }
            Event::CData(text) => {
                if let Some(case) = &mut case {
                    case.text(&text);
                }
            }
            Event::GeneralRef(name) => {
                if let Some(case) = &mut case {
                    let reference = format!("&{};", &*name);
                    case.text(&unescaped(&reference));
                }
            }
            Event::Eof if depth > 0 => return Err(JunitError::Incomplete),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    report.add(found);
    Ok(())
}

fn expect_root(tag: &BytesStart<'_>) -> Result<(), JunitError> {
    match tag.local_name().as_ref() {
        "testsuites" | "testsuite" => Ok(()),
        other => Err(JunitError::Other(cut(other, 60).to_owned())),
    }
}

fn is_case(tag: &BytesStart<'_>) -> bool {
    tag.local_name().as_ref() == "testcase"
}

/// Counts a case that has been read to its end.
fn add(report: &mut TestReport, case: Case, place: impl Fn(&str) -> Option<String>) {
    if case.is_skipped {
        return;
    }
    report.all = report.all.saturating_add(1);
    let Some((verdict, said)) = case.said else {
        return;
    };
    let count = match verdict {
        TestVerdict::Fail => &mut report.failed,
        TestVerdict::Flaky => &mut report.flaky,
    };
    *count = count.saturating_add(1);
    if report.cases.len() >= TestReport::MOST_CASES {
        return;
    }
    let tag = BytesStart::from_content(case.tag, "testcase".len());
    let named = |name: &str| attribute(&tag, name).filter(|value| !value.is_empty());
    let line = named("line").map(|line| format!(":{line}"));
    let told = named("file").map(|file| file + line.as_deref().unwrap_or_default());
    let text = said.text.trim();
    let message = said.message.trim();
    let message = if EMPTY_WORDS.contains(&message.to_ascii_lowercase().as_str()) {
        text
    } else {
        message
    };
    report.cases.push(TestCase {
        verdict,
        suite: cut(&named("classname").unwrap_or_default(), NAME).to_owned(),
        name: cut(&named("name").unwrap_or_default(), NAME).to_owned(),
        message: (!message.is_empty()).then(|| cut(message, MESSAGE).to_owned()),
        place: place(&said.message)
            .or_else(|| place(text))
            .or_else(|| told.and_then(|told| place(&told))),
    });
}

/// A test, as far as it has been read.
struct Case {
    /// Its element, which is looked into only where the test needs attention.
    tag: String,
    is_skipped: bool,
    said: Option<(TestVerdict, Said)>,
    /// How deep inside what it says the reader is.
    inside: usize,
}

/// What a test said as it failed.
#[derive(Default)]
struct Said {
    message: String,
    text: String,
}

impl Case {
    fn new(tag: &BytesStart<'_>) -> Self {
        let text: &str = tag;
        let status = text.contains(" status=").then(|| attribute(tag, "status"));
        let status = status.flatten().unwrap_or_default();
        Self {
            // The prefix of a name space is not of the name.
            tag: text
                .get(tag.name().as_ref().len()..)
                .map_or_else(String::new, |rest| format!("testcase{rest}")),
            is_skipped: matches!(status.as_str(), "notrun" | "disabled" | "skipped"),
            said: None,
            inside: 0,
        }
    }

    /// An element begins in it.
    fn begin(&mut self, tag: &BytesStart<'_>) {
        if self.inside > 0 {
            self.inside += 1;
            return;
        }
        let verdict = match tag.local_name().as_ref() {
            "failure" | "error" => TestVerdict::Fail,
            "flakyFailure" | "flakyError" => TestVerdict::Flaky,
            "skipped" => {
                self.is_skipped = true;
                return;
            }
            _ => return,
        };
        // Of several failures the first says most.
        if self
            .said
            .as_ref()
            .is_some_and(|(known, _)| *known == TestVerdict::Fail || verdict == TestVerdict::Flaky)
        {
            return;
        }
        let message = attribute(tag, "message").unwrap_or_default();
        let said = Said {
            message,
            text: String::new(),
        };
        self.said = Some((verdict, said));
        self.inside = 1;
    }

    /// An element of it ends.
    fn end(&mut self) {
        self.inside = self.inside.saturating_sub(1);
    }

    fn text(&mut self, text: &str) {
        if self.inside > 0
            && let Some((_, said)) = &mut self.said
            && said.text.len() < TEXT
        {
            said.text += cut(text, TEXT);
        }
    }
}

/// The value of an attribute; what of it cannot be understood stays as it is written.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut all = tag.attributes();
    let mut known = all.with_checks(false).flatten();
    let found = known.find(|one| one.key.local_name().as_ref() == name)?;
    Some(unescaped(&found.value))
}

/// A text with the entities that every reader knows in their places; others stand for nothing.
fn unescaped(text: &str) -> String {
    let known = |name: &str| Some(resolve_predefined_entity(name).unwrap_or_default());
    unescape_with(text, known).map_or_else(|_| text.to_owned(), |text| text.into_owned())
}

/// The beginning of a text, in at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Where a byte of XML stands, as far as it matters to what may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    Tag,
    /// A value of an attribute, in this quotation mark.
    Value(u8),
    Cdata,
    Comment,
    Instruction,
}

/// XML without what is too long to be looked at: the rest of a text, of a value, of a comment.
struct Shortened<R> {
    inner: R,
    within: Within,
    /// How much there was since it was in there.
    len: usize,
    /// The last bytes, of which the newest is the lowest: delimiters have up to nine.
    last: u128,
    /// Whether the byte before was kept.
    kept: bool,
    /// How much was kept since it was last outside of markup, to the end of what was read.
    since: usize,
}

impl<R> Shortened<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            within: Within::Text,
            len: 0,
            last: 0,
            kept: true,
            since: 0,
        }
    }

    /// Whether the next byte is kept.
    fn keeps(&mut self, byte: u8) -> bool {
        self.last = self.last << 8 | u128::from(byte);
        let ends_with = |text: &[u8]| {
            let end = text
                .iter()
                .fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte));
            self.last & ((1 << (8 * text.len())) - 1) == end
        };
        let next = match (self.within, byte) {
            (Within::Text, b'<') => Within::Tag,
            (Within::Tag, b'>') => Within::Text,
            (Within::Tag, b'"' | b'\'') => Within::Value(byte),
            (Within::Tag, b'?') if ends_with(b"<?") => Within::Instruction,
            (Within::Instruction, b'>') if ends_with(b"?>") => Within::Text,
            (Within::Tag, b'-') if ends_with(b"<!--") => Within::Comment,
            (Within::Tag, b'[') if ends_with(b"<![CDATA[") => Within::Cdata,
            (Within::Value(quote), _) if byte == quote => Within::Tag,
            (Within::Comment, b'>') if ends_with(b"-->") => Within::Text,
            (Within::Cdata, b'>') if ends_with(b"]]>") => Within::Text,
            (same, _) => same,
        };
        if next != self.within {
            self.within = next;
            self.len = 0;
            self.kept = true;
            return true;
        }
        self.len += 1;
        self.kept = match byte {
            // Characters stay whole.
            0x80..0xC0 => self.kept,
            // So does what may be a part of a delimiter.
            b']' | b'-' | b'?' => true,
            _ => self.len <= TEXT,
        };
        self.kept
    }
}

impl<R: Read> Read for Shortened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.inner.read(buffer)?;
            let mut kept = 0;
            for at in 0..count {
                let byte = buffer[at];
                if self.keeps(byte) {
                    buffer[kept] = byte;
                    kept += 1;
                }
            }
            self.since = match self.within {
                Within::Text => 0,
                _ => self.since + kept,
            };
            if self.since > MARKUP {
                let message = "one of its elements has too many attributes";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(xml: &str) -> Result<TestReport, JunitError> {
        let mut report = TestReport::default();
        read(xml.as_bytes(), &mut report, |text| {
            let mut words = text.split_whitespace();
            words.find(|word| word.contains(".py:")).map(str::to_owned)
        })?;
        Ok(report)
    }

    #[test]
    fn pytest() {
        // As pytest 7.2 wrote it, but for the times.
        let found = report(
            r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.038" timestamp="2026-11-27T04:34:00" hostname="mira"><testcase classname="test_a.TestX" name="test_ok[a&lt;b]" time="0.000" /><testcase classname="test_a" name="test_bad" time="0.001"><failure message="assert 1 == 2&#10;  +1">def test_bad():
&gt;       assert 1 == 2
E       assert 1 == 2

test_a.py:9: AssertionError</failure></testcase><testcase classname="test_a" name="test_skip" time="0.000"><skipped type="pytest.skip" message="no">/x/test_a.py:12: no</skipped></testcase><testcase classname="test_a" name="test_err" time="0.000"><error message="failed on setup with &quot;KeyError: 'x'&quot;">@pytest.fixture</error></testcase></testsuite></testsuites>"#,
        )
        .unwrap();
        assert_eq!((found.all, found.failed, found.flaky), (3, 2, 0));
        let case = &found.cases[0];
        assert_eq!(
            (case.suite.as_str(), case.name.as_str()),
            ("test_a", "test_bad")
        );
        assert_eq!(case.message.as_deref(), Some("assert 1 == 2\n  +1"));
        assert_eq!(case.place.as_deref(), Some("test_a.py:9:"));
        let message = found.cases[1].message.as_deref();
        assert_eq!(message, Some("failed on setup with \"KeyError: 'x'\""));
    }

    #[test]
    fn flaky_ones_are_no_failures() {
        let found = report(
            r#"<testsuites><testsuite name="crate">
            <testcase name="now" classname="crate"><flakyFailure message="once"/></testcase>
            <testcase name="never" classname="crate"><failure message="Failed">why it did</failure><rerunFailure message="again"/></testcase>
            <testcase name="off" status="notrun"/>
            </testsuite></testsuites>"#,
        )
        .unwrap();
        assert_eq!((found.all, found.failed, found.flaky), (2, 1, 1));
        let mut all = TestReport::default();
        all.add(found);
        let cases = all
            .cases
            .iter()
            .map(|case| (case.name.as_str(), case.message.as_deref()));
        let cases: Vec<_> = cases.collect();
        assert_eq!(
            cases,
            [("never", Some("why it did")), ("now", Some("once"))]
        );
    }

    #[test]
    fn what_is_no_report_counts_for_nothing() {
        for (xml, says) in [
            ("", ""),
            ("<html><testcase/></html>", "begins with <html>"),
            ("<testsuite><testcase name='a'>", "ends before"),
            ("<testsuite><testcase name='a'></testsuite>", "testcase"),
            (&"<testsuite>".repeat(1000), "deep"),
            ("\u{0}\u{1}", ""),
        ] {
            let found = report(xml);
            match found {
                Ok(found) => assert_eq!(found, TestReport::default(), "{xml:?}"),
                Err(error) => assert!(error.to_string().contains(says), "{xml:?}: {error}"),
            }
        }
    }

    #[test]
    fn entities_of_its_own_stand_for_nothing() {
        let mut xml = "<!DOCTYPE x [<!ENTITY a \"haha\">\n".to_owned();
        for (of, name) in ["a", "b", "c", "d"].iter().zip(["b", "c", "d", "e"]) {
            xml += &format!("<!ENTITY {name} \"{}\">\n", format!("&{of};").repeat(100));
        }
        xml += "]><testsuite><testcase name='n&e;'><failure message='m&e;'>t&e;</failure></testcase></testsuite>";
        let found = report(&xml).unwrap();
        assert_eq!(found.cases[0].message.as_deref(), Some("m"));
        assert_eq!(found.cases[0].name, "n");
    }

    #[test]
    fn what_is_long_is_shortened_and_characters_stay_whole() {
        let long = "\u{fc}]-?".repeat(100_000);
        let xml = format!(
            "<testsuite><testcase name='{long}'><system-out>{long}</system-out><failure message='a'><![CDATA[{long}]]></failure></testcase><!--{long}--><testcase name='b'/></testsuite>"
        );
        let found = report(&xml).unwrap();
        assert_eq!((found.all, found.failed), (2, 1));
        assert!(found.cases[0].name.len() <= NAME);
    }
}
