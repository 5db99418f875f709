//! Links in a bundle. None is followed; one to another file of the same bundle takes nothing away, because that file is read at its own place.

/// The name within the bundle that a link leads to; nothing where it leads out of it, or may.
pub fn target(link: &str, to: &str) -> Option<String> {
    if to.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = plain(link).collect();
    parts.pop()?;
    for part in plain(to) {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A name of a file as it is compared.
pub fn name(name: &str) -> String {
    plain(name).collect::<Vec<_>>().join("/")
}

fn plain(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_name_of_the_bundle_or_to_none() {
        let of = |link, to| target(link, to);
        assert_eq!(of("b/x/shop.yaml", "shop.json").as_deref(), Some("b/x/shop.json"));
        assert_eq!(of("./b/pods/web.log", "../cluster/./web.log").as_deref(), Some("b/cluster/web.log"));
        assert_eq!(of("b/web.log", "../../web.log"), None);
        assert_eq!(of("b/web.log", "/etc/passwd"), None);
        assert_eq!(name("./b//x"), "b/x");
    }
}
