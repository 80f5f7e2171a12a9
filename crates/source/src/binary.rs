//! The bytes of a Binary resource in JSON, taken out of its text as that comes in: a
//! scan of the outermost object that keeps nothing but its short members.

use data_encoding::{BASE64, BASE64_NOPAD};

/// A longer name or word of the outermost object is none that counts.
const WORD_MAX: usize = 256;

/// Why a text is no Binary resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A text that is being scanned.
#[derive(Default)]
pub(crate) struct BinaryText {
    depth: usize,
    within: Within,
    /// Whether a value comes next in the outermost object.
    is_value: bool,
    /// The member at work, and the word that is read.
    name: Vec<u8>,
    word: Vec<u8>,
    escape: Escape,
    resource_type: Option<String>,
    content_type: Option<String>,
    /// Base64 that is not decoded yet.
    encoded: Vec<u8>,
    has_data: bool,
    ended: bool,
}

/// What the scan stands in.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Within {
    #[default]
    Structure,
    /// A text that does not count.
    Text,
    Name,
    Word,
    Data,
}

/// How far an escape in a text has come.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// `\u` and so many digits, which are this number.
    Unicode(u8, u32),
}

impl BinaryText {
    /// What the outermost object says it is, as far as it was read.
    pub(crate) fn resource_type(&self) -> Option<&str> {
        self.resource_type.as_deref()
    }

    /// `contentType`, as far as it was read.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Reads on; the bytes that `data` stands for are added to `bytes`.
    pub(crate) fn push(&mut self, text: &[u8], bytes: &mut Vec<u8>) -> Result<(), Malformed> {
        for byte in text {
            match self.within {
                Within::Structure => self.structure(*byte)?,
                Within::Text | Within::Name | Within::Word => self.text(*byte)?,
                Within::Data => self.data(*byte, bytes)?,
            }
        }
        self.decode_whole(bytes)
    }

    /// Ends the text.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        let is_whole = self.ended && self.has_data && self.encoded.is_empty();
        let is_binary = self.resource_type.as_deref() == Some("Binary");
        (is_whole && is_binary).then_some(()).ok_or(Malformed)
    }

    fn structure(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.ended && !byte.is_ascii_whitespace() {
            return Err(Malformed);
        }
        match byte {
            b'{' | b'[' => {
                if self.depth == 0 && byte == b'[' {
                    return Err(Malformed);
                }
                self.depth += 1;
                self.is_value &= self.depth > 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1).ok_or(Malformed)?;
                self.ended = self.depth == 0;
            }
            b'"' => self.within = self.begun(),
            b':' if self.depth == 1 => self.is_value = true,
            b',' if self.depth == 1 => self.is_value = false,
            _ if self.depth == 0 && !is_before_text(byte) => return Err(Malformed),
            _ => {}
        }
        Ok(())
    }

    /// Which text begins.
    fn begun(&mut self) -> Within {
        if self.depth != 1 {
            return Within::Text;
        }
        if !self.is_value {
            self.name.clear();
            return Within::Name;
        }
        match self.name.as_slice() {
            b"data" if !self.has_data => {
                self.has_data = true;
                Within::Data
            }
            b"resourceType" | b"contentType" => {
                self.word.clear();
                Within::Word
            }
            _ => Within::Text,
        }
    }

    fn text(&mut self, byte: u8) -> Result<(), Malformed> {
        match (self.escape, byte) {
            (Escape::None, b'"') => return self.text_end(),
            (Escape::None, b'\\') => self.escape = Escape::Begun,
            _ => self.escape = Escape::None,
        }
        let kept = match self.within {
            Within::Name => &mut self.name,
            Within::Word => &mut self.word,
            _ => return Ok(()),
        };
        if kept.len() < WORD_MAX {
            kept.push(byte);
        }
        Ok(())
    }

    fn text_end(&mut self) -> Result<(), Malformed> {
        let within = std::mem::take(&mut self.within);
        if within == Within::Word {
            let quoted = [b"\"", self.word.as_slice(), b"\""].concat();
            let word = serde_json::from_slice(&quoted).map_err(|_| Malformed)?;
            match self.name.as_slice() {
                b"resourceType" => self.resource_type = Some(word),
                _ => self.content_type = Some(word),
            }
        }
        Ok(())
    }

    fn data(&mut self, byte: u8, bytes: &mut Vec<u8>) -> Result<(), Malformed> {
        match (self.escape, byte) {
            (Escape::None, b'"') => {
                self.within = Within::Structure;
                return self.decode_rest(bytes);
            }
            (Escape::None, b'\\') => self.escape = Escape::Begun,
            (Escape::None, _) => self.take(byte)?,
            (Escape::Begun, b'u') => self.escape = Escape::Unicode(0, 0),
            (Escape::Begun, b'/') => {
                self.escape = Escape::None;
                self.take(b'/')?;
            }
            (Escape::Begun, b'n' | b'r' | b't') => self.escape = Escape::None,
            (Escape::Begun, _) => return Err(Malformed),
            (Escape::Unicode(count, number), digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(Malformed)?;
                let number = number * 16 + digit;
                self.escape = Escape::Unicode(count + 1, number);
                if count == 3 {
                    self.escape = Escape::None;
                    self.take(u8::try_from(number).map_err(|_| Malformed)?)?;
                }
            }
        }
        Ok(())
    }

    /// A character of the base64; line breaks and spaces do not count.
    fn take(&mut self, byte: u8) -> Result<(), Malformed> {
        if byte.is_ascii_whitespace() {
            return Ok(());
        }
        // After padding there is nothing but a second one.
        if byte != b'=' && self.encoded.last() == Some(&b'=') {
            return Err(Malformed);
        }
        self.encoded.push(byte);
        Ok(())
    }

    /// Decodes what can be without knowing what follows.
    fn decode_whole(&mut self, bytes: &mut Vec<u8>) -> Result<(), Malformed> {
        let plain = self.encoded.iter().take_while(|byte| **byte != b'=');
        let whole = plain.count() / 4 * 4;
        if whole == 0 {
            return (self.encoded.len() < 8).then_some(()).ok_or(Malformed);
        }
        let decoded = BASE64_NOPAD.decode(&self.encoded[..whole]);
        bytes.extend_from_slice(&decoded.map_err(|_| Malformed)?);
        self.encoded.drain(..whole);
        Ok(())
    }

    fn decode_rest(&mut self, bytes: &mut Vec<u8>) -> Result<(), Malformed> {
        let rest = std::mem::take(&mut self.encoded);
        let decoded = match rest.ends_with(b"=") {
            true => BASE64.decode(&rest),
            false => BASE64_NOPAD.decode(&rest),
        };
        bytes.extend_from_slice(&decoded.map_err(|_| Malformed)?);
        Ok(())
    }
}

/// What may stand before the object: spaces, and a mark of the encoding.
fn is_before_text(byte: u8) -> bool {
    byte.is_ascii_whitespace() || [0xEF, 0xBB, 0xBF].contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text in steps of `step` bytes.
    fn read(text: &str, step: usize) -> Result<(Vec<u8>, Option<String>), Malformed> {
        let (mut scan, mut bytes) = (BinaryText::default(), Vec::new());
        for part in text.as_bytes().chunks(step) {
            scan.push(part, &mut bytes)?;
        }
        let content_type = scan.content_type().map(str::to_owned);
        scan.finish()?;
        Ok((bytes, content_type))
    }

    #[test]
    fn the_bytes_come_out_however_the_text_is_cut() {
        let encoded = BASE64.encode(&(0..=255).collect::<Vec<u8>>());
        let escaped = encoded.replace('/', "\\/").replace('+', "\\u002B");
        let broken = format!("{}\\r\\n{}\\n", &encoded[..76], &encoded[76..]);
        for data in [&encoded, &escaped, &broken, &encoded.replace('=', "")] {
            for text in [
                format!(
                    r#"{{"resourceType":"Binary","id":"a","contentType":"application/pdf","data":"{data}"}}"#
                ),
                format!(
                    "\u{FEFF}{{ \"data\" : \"{data}\" , \"meta\":{{\"data\":\"no\",\"x\":[\"}}\",1]}},\n\"contentType\":\"application\\/pdf\",\"resourceType\":\"Binary\"}}\n"
                ),
            ] {
                for step in [1, 2, 3, 7, 64, 10_000] {
                    let (bytes, content_type) = read(&text, step).unwrap();
                    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>(), "{text} by {step}");
                    assert_eq!(content_type.as_deref(), Some("application/pdf"));
                }
            }
        }
        let empty = read(r#"{"resourceType":"Binary","data":""}"#, 5).unwrap();
        assert_eq!(empty, (Vec::new(), None));
    }

    #[test]
    fn what_is_no_whole_binary_is_refused() {
        for text in [
            r#"{"resourceType":"Binary","data":"aGVsbG8"#,
            r#"{"resourceType":"Binary","data":"aGVsbG8=""#,
            r#"{"resourceType":"Binary","data":"aGVs*G8="}"#,
            r#"{"resourceType":"Binary","data":"aGVsb=8="}"#,
            r#"{"resourceType":"Binary","data":"aGVsbG8=aGVs"}"#,
            r#"{"resourceType":"Binary","data":"========"}"#,
            r#"{"resourceType":"Binary","data":"aGV\q"}"#,
            r#"{"resourceType":"Binary","data":"aGV\u20AC"}"#,
            r#"{"resourceType":"Binary"}"#,
            r#"{"resourceType":"Patient","data":"aGVs"}"#,
            r#"{"resourceType":"Binary","data":"aGVs"}}"#,
            r#"{"resourceType":"Binary","data":"aGVs"} {}"#,
            r#"["Binary"]"#,
            "<html></html>",
            "",
        ] {
            for step in [1, 4, 1_000] {
                assert!(read(text, step).is_err(), "{text} by {step}");
            }
        }
    }
}
