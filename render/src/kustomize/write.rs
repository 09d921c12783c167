//! Writes a tree as YAML text, for values that are YAML inside a text.

use super::node::Node;

/// The tree in kustomize's form: keys in their order.
pub(crate) fn to_yaml(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

fn scalar(node: &Node) -> String {
    let json = node.to_json().unwrap_or_default();
    match node {
        Node::Scalar(scalar) if !json.is_string() => scalar.text.clone(),
        Node::Scalar(scalar) if scalar.quoted && !scalar.text.contains('\n') => {
            serde_json::Value::String(scalar.text.clone()).to_string()
        }
        _ => crate::to_yaml(&json).trim_end_matches('\n').to_owned(),
    }
}

fn block(node: &Node, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match node {
        Node::Map(entries) => {
            for (key, value) in entries {
                out.push_str(&pad);
                out.push_str(&key.text);
                out.push(':');
                match value {
                    Node::Map(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(value, indent + 2, out);
                    }
                    Node::List(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(value, indent, out);
                    }
                    other => line(other, indent + 2, out),
                }
            }
        }
        Node::List(items) => {
            for item in items {
                out.push_str(&pad);
                out.push('-');
                if item.is_empty() || matches!(item, Node::Scalar(_)) {
                    line(item, indent + 2, out);
                } else {
                    let mut inner = String::new();
                    block(item, indent + 2, &mut inner);
                    out.push(' ');
                    out.push_str(&inner[indent + 2..]);
                }
            }
        }
        Node::Scalar(_) => line(node, indent, out),
    }
}

fn line(node: &Node, indent: usize, out: &mut String) {
    let text = scalar(node);
    if !text.is_empty() {
        out.push(' ');
        out.push_str(&text.replace('\n', &format!("\n{}", " ".repeat(indent))));
    }
    out.push('\n');
}
