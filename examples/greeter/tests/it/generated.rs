//! The committed code, against the file that it is generated from.

const PROTO: &str = include_str!("../../proto/greeter.proto");
const CODE: &str = include_str!("../../proto/greeter.rs");

#[test]
fn the_generated_code_has_the_calls_messages_and_fields_of_the_proto_and_no_others() {
    let mut expected = Vec::new();
    for line in PROTO.lines().map(str::trim) {
        let words: Vec<&str> = line.split([' ', '(', ')', ';']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["rpc", call, ..] => expected.push(format!("\"/greeter.Greeter/{call}\" => {{")),
            ["message", message, "{"] => expected.push(format!("pub struct {message} {{")),
            ["string", field, "=", tag] => {
                expected.push(format!("tag = \"{tag}\")]\n    pub {field}: ::prost::alloc::string::String,"));
            }
            _ => {}
        }
    }
    assert_eq!(expected.len(), 8, "{expected:?}");
    for part in expected {
        assert_eq!(CODE.matches(&part).count(), 1, "{part}");
    }
    for (part, times) in [("\" => {", 4), ("::prost::Message)]", 2), ("#[prost(", 2)] {
        assert_eq!(CODE.matches(part).count(), times, "{part}");
    }
}
