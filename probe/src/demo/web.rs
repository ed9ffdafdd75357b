//! What is behind the demo's web names besides Reticulum: the pages, the files that they load, the CORS proxy and the maker of
//! thumbnails.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use url::Url;

use super::reply::Reply;
use crate::target::{DIALOG, Name, Room, Target};

/// A picture of one pixel.
const PICTURE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0,
    1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0x60, 0,
    0, 0, 2, 0, 1, 0x48, 0xaf, 0xa4, 0x71, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

const ICON: &str = "/app-icon.png";

/// The pages and their files.
#[derive(Clone, Debug)]
pub(super) struct Web {
    target: Target,
    room: Room,
}

impl Web {
    pub(super) fn new(target: Target, room: Room) -> Self {
        Self { target, room }
    }

    /// What is answered at one of the names, unless it is Reticulum who answers.
    pub(super) fn answer(&self, name: Name, request: &Request<Incoming>) -> Option<Reply> {
        let path = request.uri().path();
        let reply = match name {
            Name::Root => self.page(path)?,
            Name::Assets => file(path),
            Name::Cors => match path.strip_prefix("/nearspark") {
                Some(path) => thumbnail(path),
                None => return self.proxied(path),
            },
            Name::Stream => return None,
        };
        Some(self.shared(reply))
    }

    fn page(&self, path: &str) -> Option<Reply> {
        match path {
            "/" => Some(self.html("hubs", "hub")),
            "/spoke" => Some(self.html("spoke", "hub")),
            ICON => Some(Reply::new(StatusCode::OK, "image/png", PICTURE)),
            path if path.trim_matches('/') == self.room.sid() => Some(self.html("hubs", "room")),
            _ => None,
        }
    }

    /// A page with the settings that Hubs' pods write into it, and the policy that Reticulum sends along.
    fn html(&self, pod: &str, entity: &'static str) -> Reply {
        let [root, assets, stream, cors] = Name::ALL.map(|name| self.target.host(name));
        let text = format!(
            "<!DOCTYPE html><html><head>\n\
             <meta name=\"env:base_assets_path\" content=\"https://{assets}/{pod}/\"/>\n\
             <meta name=\"env:reticulum_server\" content=\"{root}\"/>\n\
             <meta name=\"env:cors_proxy_server\" content=\"{cors}\"/>\n\
             <meta name=\"env:thumbnail_server\" content=\"{cors}/nearspark\"/>\n\
             <title>The demo's Hubs</title>\n\
             <link rel=\"apple-touch-icon\" href=\"{ICON}\">\n\
             <link rel=\"stylesheet\" href=\"https://{assets}/{pod}/assets/stylesheets/{pod}.css\">\n\
             </head><body><script src=\"https://{assets}/{pod}/assets/js/{pod}.js\"></script></body></html>\n"
        );
        let policy = format!(
            "default-src 'none'; script-src 'self' https://{assets}; style-src 'self' https://{assets}; \
             img-src 'self' https://{assets} https://{cors}:443; \
             connect-src 'self' https://{assets} https://{cors}:443 wss://{root}:443 wss://{stream}:{DIALOG}"
        );
        let reply = Reply::new(StatusCode::OK, "text/html; charset=utf-8", text)
            .with("hub-name", "The demo's Hubs")
            .with("hub-entity-type", entity);
        with(reply, header::CONTENT_SECURITY_POLICY.as_str(), &policy)
    }

    /// The CORS proxy, which here reaches nobody but the deployment itself.
    fn proxied(&self, path: &str) -> Option<Reply> {
        let url: Url = path.strip_prefix('/')?.parse().ok()?;
        let is_own = url.host_str() == Some(self.target.domain());
        match url.path() {
            "/api/v1/meta" if is_own => Some(self.shared(super::reticulum::meta(&self.target))),
            _ => Some(Reply::text(StatusCode::UNAUTHORIZED, "Bad request.")),
        }
    }

    /// As the ingress sends it, so that the pages' scripts may read it.
    fn shared(&self, reply: Reply) -> Reply {
        let origin = format!("https://{}", self.target);
        with(reply, header::ACCESS_CONTROL_ALLOW_ORIGIN.as_str(), &origin)
    }
}

fn with(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.response.headers_mut().insert(name, value);
    }
    reply
}

fn file(path: &str) -> Reply {
    let kind = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "application/javascript",
        Some("css") => "text/css",
        _ => return Reply::text(StatusCode::NOT_FOUND, "404 Not Found"),
    };
    Reply::new(StatusCode::OK, kind, "/* The demo's Hubs does nothing. */\n")
}

/// nearspark, which has seen one picture in its life.
fn thumbnail(path: &str) -> Reply {
    let url = path.strip_prefix("/thumbnail/").and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
    if url.is_some_and(|url| url.ends_with(ICON.as_bytes())) {
        return Reply::new(StatusCode::OK, "image/png", PICTURE);
    }
    Reply::new(StatusCode::NOT_FOUND, "text/html; charset=utf-8", "<pre>Cannot GET</pre>\n")
        .with("x-powered-by", "Express")
}
