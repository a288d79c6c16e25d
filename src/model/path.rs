//! Paths as JSON, which knows text only: `#[serde(with = "model::path")]`.
//!
//! A path that is text is text; any other one is a list of its bytes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(PathBuf),
    Bytes(Vec<u8>),
}

impl From<&Path> for Form {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(_) => Self::Text(path.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<Form> for PathBuf {
    fn from(form: Form) -> Self {
        match form {
            Form::Text(path) => path,
            Form::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

/// Writes a path.
///
/// # Errors
/// Those of `to`.
pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    Form::from(path).serialize(to)
}

/// Reads a path.
///
/// # Errors
/// Where it is neither text nor bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    Form::deserialize(from).map(PathBuf::from)
}

/// The same for a path that may not be there.
pub mod option {
    use super::{Deserialize, Deserializer, Form, PathBuf, Serialize, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Form::from).serialize(to)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is neither text nor bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let form = Option::<Form>::deserialize(from)?;
        Ok(form.map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Paths {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(default, with = "super::option")]
        other: Option<PathBuf>,
    }

    #[test]
    fn any_path_reads_back() {
        for one in [&b"/a/b"[..], b"/caf\xe9\n\"", b""] {
            let one = PathBuf::from(OsString::from_vec(one.to_vec()));
            for other in [None, Some(one.clone())] {
                let paths = Paths {
                    one: one.clone(),
                    other,
                };
                let text = serde_json::to_string(&paths).unwrap();
                assert_eq!(
                    serde_json::from_str::<Paths>(&text).unwrap(),
                    paths,
                    "{text}"
                );
            }
        }
        let old: Paths = serde_json::from_str(r#"{"one": "/a"}"#).unwrap();
        assert_eq!(old.one, Path::new("/a"));
    }
}
