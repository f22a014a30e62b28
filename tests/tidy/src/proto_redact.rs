//! `Debug` for messages with fields marked `[debug_redact = true]`, the option that protobuf itself defines for this.
//!
//! prost knows nothing of the option and would print plaintext, keys and tokens to whoever formats a request. Such messages lose prost's
//! `Debug` and get one that tells a secret's length only. Messages inside messages are not handled: none of ours carry secrets.

use std::fmt::Write;
use std::io;

use heck::{ToSnakeCase, ToUpperCamelCase};
use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

/// The messages of `pool` with at least one secret field.
///
/// # Errors
/// A secret in a place that is not handled: inside a nested message or a `oneof`.
pub fn secret_messages(pool: &DescriptorPool) -> io::Result<Vec<MessageDescriptor>> {
    let mut found = Vec::new();
    for message in pool.all_messages() {
        let secrets: Vec<_> = message.fields().filter(is_secret).collect();
        if let Some(field) =
            secrets.iter().find(|f| f.containing_oneof().is_some() || message.parent_message().is_some())
        {
            return Err(io::Error::other(format!(
                "`{}` is secret inside a oneof or nested message; try a field of its own in a message of its own",
                field.full_name()
            )));
        }
        if !secrets.is_empty() {
            found.push(message);
        }
    }
    Ok(found)
}

/// Fields that are secret by their name yet not marked: `page_token` and the like are listed as harmless.
pub fn unmarked_secrets(pool: &DescriptorPool) -> Vec<String> {
    let suspicious = |name: &str| {
        let names = [
            "plaintext",
            "passphrase",
            "password",
            "token",
            "secret",
            "private_key",
            "root_key",
            "svid_key",
            "jwt_svid",
        ];
        names.iter().any(|n| name == *n || name.ends_with(&format!("_{n}"))) && !name.ends_with("page_token")
    };
    let fields = pool.all_messages().flat_map(|m| m.fields().collect::<Vec<_>>());
    let holds_bytes = |f: &FieldDescriptor| matches!(f.kind(), Kind::Bytes | Kind::String);
    fields
        .filter(|f| holds_bytes(f) && suspicious(f.name()) && !is_secret(f))
        .map(|f| f.full_name().to_owned())
        .collect()
}

/// The Rust of the `Debug` implementation of one message.
pub fn debug_impl(message: &MessageDescriptor) -> String {
    let name = message.name().to_upper_camel_case();
    let mut code = format!(
        "/// Tells the length of what is marked `debug_redact`, never its content.\nimpl ::core::fmt::Debug for {name} {{\n    \
         fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        f.debug_struct(\"{name}\")\n"
    );
    for field in message.fields().filter(|f| f.containing_oneof().is_none()) {
        let (label, ident) = (field.name(), ident(field.name()));
        // Writing to a String cannot fail.
        let _ = match (is_secret(&field), field.is_list() || !matches!(field.kind(), Kind::Bytes | Kind::String)) {
            (false, _) => writeln!(code, "            .field(\"{label}\", &self.{ident})"),
            (true, false) => writeln!(
                code,
                "            .field(\"{label}\", &::core::format_args!(\"<{{}} bytes>\", self.{ident}.len()))"
            ),
            (true, true) => writeln!(code, "            .field(\"{label}\", &::core::format_args!(\"<redacted>\"))"),
        };
    }
    for oneof in message.oneofs() {
        let _ = writeln!(code, "            .field(\"{}\", &self.{})", oneof.name(), ident(oneof.name()));
    }
    code + "            .finish()\n    }\n}\n"
}

fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|v| *v == Value::Bool(true))
}

/// prost's name of a field: snake case, raw where it is a keyword.
fn ident(name: &str) -> String {
    let snake = name.to_snake_case();
    if syn::parse_str::<syn::Ident>(&snake).is_ok() { snake } else { format!("r#{snake}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(fields: &str) -> DescriptorPool {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("a.proto"),
            format!("syntax = \"proto3\"; package p; message Put {{ {fields} }}"),
        )
        .unwrap();
        let mut compiler = protox::Compiler::new([folder.path()]).unwrap();
        compiler.open_file(folder.path().join("a.proto")).unwrap();
        compiler.descriptor_pool()
    }

    #[test]
    fn a_secret_shows_its_length_and_the_rest_itself() {
        let pool = pool(
            "string type = 1; bytes text = 2 [debug_redact = true]; repeated string words = 3 [debug_redact = true];",
        );
        let messages = secret_messages(&pool).unwrap();
        assert_eq!(messages.len(), 1);
        let code = debug_impl(&messages[0]);
        assert!(code.contains(".field(\"type\", &self.r#type)"), "{code}");
        assert!(code.contains("format_args!(\"<{} bytes>\", self.text.len())"), "{code}");
        assert!(code.contains(".field(\"words\", &::core::format_args!(\"<redacted>\"))"), "{code}");
        assert!(!code.contains("&self.text)") && !code.contains("&self.words)"), "{code}");
        syn::parse_file(&code).unwrap();
    }

    #[test]
    fn a_message_without_secrets_keeps_prosts() {
        assert!(secret_messages(&pool("bytes text = 2;")).unwrap().is_empty());
    }

    #[test]
    fn a_secret_by_name_must_be_marked() {
        let pool = pool(
            "bytes plaintext = 1; string join_token = 2; string page_token = 3; bytes token = 4 [debug_redact = true];",
        );
        assert_eq!(unmarked_secrets(&pool), ["p.Put.plaintext", "p.Put.join_token"]);
    }

    #[test]
    fn a_secret_where_it_would_be_missed_is_refused() {
        for fields in [
            "oneof x { bytes k = 1 [debug_redact = true]; }",
            "message In { bytes k = 1 [debug_redact = true]; } In i = 1;",
        ] {
            let error = secret_messages(&pool(fields)).unwrap_err().to_string();
            assert!(error.contains("is secret inside"), "{error}");
        }
    }
}
