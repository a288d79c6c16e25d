//! What a link of a tree leads to.
//!
//! A program that follows a link sees the times of what it leads to, and not those of the
//! link. Where a link is made to lead elsewhere, to a file that is older than what was built
//! through the link before, `make` would build nothing. So what a changed link leads to
//! has to look as new as the link.

use std::collections::BTreeSet;

use super::index::{Image, LINK};

/// More links than this on the way are a circle.
const MOST: usize = 32;

/// The entries of `image`, links left out, that the link at `path` leads to; `read` gives
/// the target of the link at an entry. Empty where it leads out of the tree or nowhere.
pub(super) fn led_to(
    image: &Image,
    path: &[u8],
    read: &dyn Fn(usize) -> Option<Vec<u8>>,
) -> BTreeSet<usize> {
    let Some(end) = resolve(image, path, read) else {
        return BTreeSet::new();
    };
    let found = match image.find(&end) {
        Ok(at) => at..at + 1,
        Err(_) => image.below(&end),
    };
    found.filter(|&at| image.mode(at) != LINK).collect()
}

/// Where `path` leads, without a link on the way.
fn resolve(image: &Image, path: &[u8], read: &dyn Fn(usize) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut followed = 0;
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut ahead = components(path);
    while let Some(name) = ahead.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop()?;
                continue;
            }
            _ => done.push(name),
        }
        if let Ok(at) = image.find(&done.join(&b'/'))
            && image.mode(at) == LINK
        {
            followed += 1;
            let target = read(at)?;
            if followed > MOST || target.starts_with(b"/") {
                return None;
            }
            done.pop();
            ahead.extend(components(&target));
        }
    }
    Some(done.join(&b'/'))
}

/// The components of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|&byte| byte == b'/');
    parts.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gix::hash::Kind;

    use super::super::index::{FILE, of_mode};
    use super::*;

    #[test]
    fn links_lead_to_files_below_directories_and_through_links() {
        let links = BTreeMap::from([
            ("lib", "lib-2"),
            ("circle", "circle"),
            ("out", "../elsewhere"),
            ("root", "/etc"),
            ("bin/tool", "../lib/tool"),
        ]);
        let files = ["lib-1/tool", "lib-2/tool", "lib-2/x/y"];
        let all = files.iter().map(|file| (*file, FILE));
        let all = all.chain(links.keys().map(|link| (*link, LINK)));
        let written = all.map(|(path, mode)| {
            let entry = (of_mode(mode), Kind::Sha1.null());
            (path.as_bytes().to_vec(), Some(entry))
        });
        let image = Image::empty(Kind::Sha1).with(&written.collect());
        let read = |at: usize| {
            let path = String::from_utf8(image.path(at).to_vec()).unwrap();
            Some(links[path.as_str()].as_bytes().to_vec())
        };
        let led = |path: &str| -> Vec<String> {
            let found = led_to(&image, path.as_bytes(), &read);
            let paths = found.into_iter().map(|at| image.path(at).to_vec());
            paths.map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(led("lib"), ["lib-2/tool", "lib-2/x/y"]);
        assert_eq!(led("bin/tool"), ["lib-2/tool"]);
        for nowhere in ["circle", "out", "root"] {
            assert_eq!(led(nowhere), [] as [String; 0], "{nowhere}");
        }
    }
}
