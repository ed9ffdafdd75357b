//! Values that were put into the file, or should have been. None of them is ever shown.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Found, Sheet,
    fix::{Edit, Mend, SPREAD},
    manifest::Setting,
    yaml::{Node, Style},
};
use crate::{codes::Code, finding::Finding};

/// How the lines of a key are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    /// Two backslashes and an n: what dialog's script and Reticulum's both come to terms with.
    Double,
    /// One backslash and an n.
    Single,
    /// Line breaks.
    Real,
    /// It has one line only.
    None,
}

fn breaks(key: &str) -> Breaks {
    if key.trim().contains('\n') {
        Breaks::Real
    } else if key.contains(r"\\n") {
        Breaks::Double
    } else if key.contains(r"\n") {
        Breaks::Single
    } else {
        Breaks::None
    }
}

/// The key with which Reticulum signs, and dialog checks, who may join.
pub(super) fn perms_key(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::PermsKeyWritten;
    let Some(setting) = sheet.manifest.setting("configs", "PERMS_KEY") else { return Vec::new() };
    let key = setting.value.as_str();
    let place = setting.node.start;
    let generate = ["npm run gen-hcce", "kubectl rollout restart deployment -n hcce"];
    let text = "Generate the file again, and restart all that reads the key:";
    let broken = |summary: &str, cause: &str| {
        sheet.at(Finding::fail(code, summary).because(cause).fix(text, generate), place).at("Secret/configs")
    };
    if !key.contains("-----BEGIN") || !key.contains("PRIVATE KEY-----") {
        return vec![broken("PERMS_KEY is no private key", "Reticulum signs with it who may join a room, and dialog checks that: with anything else nobody gets in").into()];
    }
    let (finding, replacement) = match breaks(key) {
        Breaks::Double => {
            return vec![
                sheet
                    .at(Finding::pass(code, "PERMS_KEY is written as dialog and Reticulum read it"), place)
                    .at("Secret/configs")
                    .into(),
            ];
        }
        Breaks::Single => (
            broken(
                r"PERMS_KEY has \n between its lines, and needs \\n",
                r#"dialog's start script makes one line of it and refuses everybody ("secretOrPublicKey must be an asymmetric key"); Reticulum's makes line breaks of it, and its configuration is no TOML any more"#,
            ),
            Some(key.replace(r"\n", r"\\n")),
        ),
        Breaks::Real => (
            broken(
                r"PERMS_KEY has line breaks in it, and needs \\n in their place",
                "Reticulum puts the value into its configuration with sed, which ends at a line break: it does not start",
            ),
            Some(key.trim().lines().map(|line| line.trim().to_owned() + r"\\n").collect::<String>()),
        ),
        Breaks::None => (
            broken(
                "PERMS_KEY is a single line",
                "a key in PEM has several: whatever took its line breaks out, nothing can read it any more",
            ),
            None,
        ),
    };
    let mend = replacement.map_or(Mend::Decision, |it| Mend::by(rewritten(&setting, &it), SPREAD));
    vec![Found { finding, mend }]
}

/// The scalar with another value, written as the one before was. One that goes on over several lines stays as it is.
fn rewritten(setting: &Setting<'_>, value: &str) -> Option<Edit> {
    let Node { start, end, style, .. } = *setting.node;
    let text = match (setting.is_encoded, style) {
        (true, Style::Plain) => STANDARD.encode(value),
        (true, Style::Single | Style::Double) => format!("\"{}\"", STANDARD.encode(value)),
        (false, Style::Single) => format!("'{}'", value.replace('\'', "''")),
        (false, Style::Double | Style::Plain) => {
            format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""))
        }
        (_, Style::Block) => return None,
    };
    (start.line() == end.line()).then_some(Edit::Replace { from: start, until: end, text })
}

/// What the generator's template has where a value belongs.
const NAMES: [&str; 24] = [
    "HUB_DOMAIN",
    "ADM_EMAIL",
    "Namespace",
    "NODE_COOKIE",
    "DB_USER",
    "DB_PASS",
    "DB_NAME",
    "DB_HOST",
    "SMTP_SERVER",
    "SMTP_PORT",
    "SMTP_USER",
    "SMTP_PASS",
    "GUARDIAN_KEY",
    "PHX_KEY",
    "PERMS_KEY",
    "PGRST_JWT_SECRET",
    "SKETCHFAB_API_KEY",
    "TENOR_API_KEY",
    "Container_Dockerhub_Username",
    "Container_Tag",
    "initCert",
    "initKey",
    "DASHBOARD_ACCESS_KEY",
    "PERSISTENT_VOLUME_SIZE",
];

/// Settings without which something does not start.
const NEEDED: [&str; 5] = ["HUB_DOMAIN", "PERMS_KEY", "PGRST_JWT_SECRET", "GUARDIAN_KEY", "PHX_KEY"];

/// Values that nobody put in.
pub(super) fn placeholders(sheet: &Sheet<'_>) -> Vec<Found> {
    let code = Code::ValuesPutIn;
    let mut found: Vec<Found> = Vec::new();
    for object in &sheet.manifest.objects {
        let target = format!("{}/{}", object.kind, object.name);
        let mut tell = |node: &Node<'_>, what: Option<String>| {
            let Some(what) = what else { return };
            let finding = Finding::fail(code, format!("{what} was left in the place of a value"))
                .because("the generator puts values there; what it does not know stays as it is")
                .fix("Set it in input-values.yaml, and generate the file again:", ["npm run gen-hcce"]);
            found.push(sheet.at(finding, node.start).at(&target).into());
        };
        for (key, value) in object.node.fields() {
            let is_encoded = object.kind == "Secret" && key.text() == Some("data");
            value.each_text(&mut |node, text| {
                let what = if is_encoded { encoded_placeholder(text) } else { placeholder(node, text) };
                tell(node, what);
            });
        }
    }
    if let Some(secret) = sheet.manifest.find("Secret", "configs") {
        for name in NEEDED {
            let Some(setting) = sheet.manifest.setting("configs", name) else { continue };
            if setting.value.trim().is_empty() {
                let finding = Finding::fail(code, format!("{name} is empty"))
                    .because("the generator makes a value for it; an old one, or openssl without support for it, leaves it out")
                    .fix("Generate the file again:", ["npm run gen-hcce"]);
                found
                    .push(sheet.at(finding, setting.node.start).at(format!("Secret/{}", secret.name)).into());
            }
        }
    }
    if found.is_empty() && !sheet.manifest.objects.is_empty() {
        found.push(Finding::pass(code, "no placeholder is left").into());
    }
    found
}

/// A placeholder in the text. Longer texts are scripts and templates with variables of their own.
fn placeholder(node: &Node<'_>, text: &str) -> Option<String> {
    if node.style == Style::Block { None } else { placeholder_in(text) }
}

/// A placeholder in what this is in clear.
fn encoded_placeholder(text: &str) -> Option<String> {
    placeholder_in(std::str::from_utf8(&STANDARD.decode(text.trim()).ok()?).ok()?.trim())
}

/// What it is called. Nothing that may stand around it is told: it may be a secret after all.
fn placeholder_in(text: &str) -> Option<String> {
    if text.contains('\n') || text.len() > 300 {
        return None;
    }
    if text.eq_ignore_ascii_case("changeme") || text.eq_ignore_ascii_case("change_me") {
        return Some(format!("{text:?}"));
    }
    let reserved = ["example.com", "example.org", "example.net"];
    let host = text.strip_prefix("https://").unwrap_or(text);
    let is_left = |it: &&&str| {
        host.strip_suffix(**it).is_some_and(|before| {
            matches!(before, "" | "assets." | "stream." | "cors.") || before.ends_with('@')
        })
    };
    if let Some(domain) = reserved.iter().find(is_left) {
        return Some(format!("{domain:?}"));
    }
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        let name = rest.strip_prefix('{').unwrap_or(rest);
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let name = &name[..end];
        let is_whole = text.len() == name.len() + 1
            && name.len() > 2
            && name.starts_with(|c: char| c.is_ascii_alphabetic());
        // A name is written in capitals; anything else may as well be a password that begins with this sign.
        let is_name = name.chars().all(|it| it.is_ascii_uppercase() || it == '_');
        if NAMES.contains(&name) || (is_whole && is_name) {
            return Some(format!("${name}"));
        }
        if is_whole {
            return Some("what looks like a placeholder".to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_lines_of_a_key_are_kept_apart_is_told() {
        for (key, is) in [
            (r"a\\nb", Breaks::Double),
            (r"a\nb", Breaks::Single),
            ("a\nb", Breaks::Real),
            ("a b", Breaks::None),
            ("a\n", Breaks::None),
        ] {
            assert_eq!(breaks(key), is, "{key:?}");
        }
    }

    #[test]
    fn placeholders_are_told_from_variables_of_scripts() {
        let node = |text: &str, style| Node {
            kind: super::super::yaml::Kind::Text(text.to_owned().into()),
            style,
            start: super::super::yaml::Place::new(1, 1),
            end: super::super::yaml::Place::new(1, 1),
        };
        for (text, is_one) in [
            ("$HUB_DOMAIN", true),
            ("cert-stream.$HUB_DOMAIN", true),
            ("$Container_Dockerhub_Username/dialog:$Container_Tag", true),
            ("$SOMETHING_NEW", true),
            ("changeMe", true),
            ("admin@example.com", true),
            ("stream.example.com", true),
            ("$(POD_IP)", false),
            ("echo $1 costs 5$", false),
            ("hubs.example.com.au", false),
            ("<HUB_DOMAIN>", false),
            ("my-hubs.example.net", false),
        ] {
            assert_eq!(placeholder(&node(text, Style::Plain), text).is_some(), is_one, "{text}");
        }
        assert_eq!(placeholder(&node("$HUB_DOMAIN", Style::Block), "$HUB_DOMAIN"), None);
    }
}
