//! Types and kinds by Go's names.

use super::{Row, exact};
use crate::template::value::{Value, deep_equal};

pub(super) static TABLE: &[Row] = &[
    exact("typeOf", 1, |_, args| Ok(Value::text(args.any(0).type_name()))),
    exact("typeIs", 2, |_, args| Ok(Value::Bool(args.utf8(0)? == args.any(1).type_name()))),
    exact("typeIsLike", 2, |_, args| {
        let (target, name) = (args.utf8(0)?, args.any(1).type_name());
        Ok(Value::Bool(target == name || format!("*{target}") == name))
    }),
    exact("kindOf", 1, |_, args| Ok(Value::text(args.any(0).kind_name()))),
    exact("kindIs", 2, |_, args| Ok(Value::Bool(args.utf8(0)? == args.any(1).kind_name()))),
    exact("deepEqual", 2, |_, args| Ok(Value::Bool(deep_equal(&args.any(0), &args.any(1))))),
];
