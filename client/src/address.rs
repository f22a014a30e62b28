//! Where a node is reached: `host:port`, checked once.

use rustls::pki_types::ServerName;

/// The port of the API when an address names none.
pub const API_PORT: u16 = 7443;

/// Longest text of an address: a DNS name, brackets and a port.
const ADDRESS_BYTES_MAX: usize = types::limits::DNS_NAME_BYTES_MAX + 8;

/// A host and a port; the host is a DNS name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// `host:port`, as it is dialled.
    text: String,
    name: ServerName<'static>,
}

/// The text is no address; says what is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not an address: use host:port, for example 127.0.0.1:7443 or [::1]:7443")]
pub struct AddressError(String);

impl Address {
    /// Parses `host:port`, or `host` for the port [`API_PORT`].
    ///
    /// # Errors
    /// When the host is neither a DNS name nor an IP address, or the port no port.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.chars().take(80).collect());
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(error());
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse::<u16>().map_err(|_| error())?)
            }
            _ => (text, API_PORT),
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| error())?;
        let is_v6 = matches!(&name, ServerName::IpAddress(ip) if std::net::IpAddr::from(*ip).is_ipv6());
        if port == 0 || (is_v6 != (bare.len() != host.len())) {
            return Err(error());
        }
        Ok(Self { text: format!("{host}:{port}"), name })
    }

    /// Parses a list separated by commas, as `CHANCERY_ADDR` holds it.
    ///
    /// # Errors
    /// When one is no address.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    /// `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host part, without port and without the brackets of IPv6.
    #[must_use]
    pub fn host(&self) -> std::borrow::Cow<'_, str> {
        self.name.to_str()
    }

    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let table = [
            ("127.0.0.1:7453", "127.0.0.1:7453"),
            ("node-1.example.org", "node-1.example.org:7443"),
            ("localhost:1", "localhost:1"),
            ("[::1]:7443", "[::1]:7443"),
            ("[::1]", "[::1]:7443"),
        ];
        for (given, dialled) in table {
            assert_eq!(Address::parse(given).expect(given).as_str(), dialled);
        }
        for wrong in ["", ":7443", "a:b", "a:0", "a:65536", "::1", "::1:7443", "[::1", "[localhost]:1", "a b:1", "a/b"]
        {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let list = Address::parse_list("127.0.0.1:1, 127.0.0.1:2,").expect("a list");
        assert_eq!(list.iter().map(Address::as_str).collect::<Vec<_>>(), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert!(Address::parse_list("127.0.0.1:1;127.0.0.1:2").is_err());
    }
}
