//! Go's text/template with Helm's and sprig's functions: lexer, parser, tree, execution, values.

pub(crate) mod args;
pub(crate) mod ast;
pub(crate) mod call;
mod cost;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod fault;
pub(crate) mod field;
pub(crate) mod floats;
pub(crate) mod funcs;
pub(crate) mod json;
pub(crate) mod lex;
pub(crate) mod named;
mod number;
pub(crate) mod object;
pub(crate) mod parse;
mod pretty;
pub(crate) mod print;
pub(crate) mod printf;
pub(crate) mod quote;
pub(crate) mod stack;
pub(crate) mod value;
mod verbs;
