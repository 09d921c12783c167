//! Random programs: mostly calls whose arguments have the right kinds, now and then not.

use super::program::{Expression, Program, Statement};
use super::random::Random;
use super::vocabulary::{Function, fields, functions, leaves};

/// Texts between actions.
const TEXTS: [&str; 10] = ["text ", "\n", "  \n  ", " a: b\n", "-", "}", "{ ", "\t", "é\n", "# x\n"];

/// Comments, and the ways in which they trim what is around them.
const COMMENTS: [&str; 6] = [
    " {{/* comment */}} ",
    " {{- /* comment */}} ",
    "\n {{/* two\nlines */ -}} \n",
    " {{- /* both */ -}} ",
    "{{/**/}}",
    " {{- /* {{ inside }} */ -}}\n",
];

/// Writes one program.
pub(crate) struct Grammar<'r> {
    random: &'r mut Random,
    /// Variables in sight, with their kinds.
    variables: Vec<(String, char)>,
    /// How many templates may be called.
    defines: usize,
    names: usize,
    in_range: bool,
    in_define: bool,
}

impl<'r> Grammar<'r> {
    pub(crate) fn program(random: &'r mut Random) -> Program {
        let mut grammar =
            Self { random, variables: Vec::new(), defines: 0, names: 0, in_range: false, in_define: false };
        let mut defines = Vec::new();
        if grammar.random.chance(15) {
            for _ in 0..=grammar.random.below(2) {
                grammar.variables.clear();
                grammar.in_define = true;
                defines.push(grammar.statements(2));
                grammar.defines += 1;
            }
        }
        grammar.variables.clear();
        grammar.in_define = false;
        // Half of the programs are a single expression: what differs is then easy to see.
        let body = if grammar.random.chance(50) {
            let depth = 1 + grammar.random.below(3);
            vec![Statement::Action(grammar.expression('a', depth))]
        } else {
            grammar.statements(3)
        };
        let trims = if grammar.random.chance(40) { grammar.random.number() } else { 0 };
        Program { defines, body, trims }
    }

    fn statements(&mut self, depth: usize) -> Vec<Statement> {
        let scope = self.variables.len();
        let count = 1 + self.random.below(4);
        let statements = (0..count).map(|_| self.statement(depth)).collect();
        self.variables.truncate(scope);
        statements
    }

    fn statement(&mut self, depth: usize) -> Statement {
        match self.random.below(if depth == 0 { 55 } else { 100 }) {
            0..15 => Statement::Text((*self.random.pick(&TEXTS)).to_owned()),
            15..45 => {
                let kind = *self.random.pick(&['a', 's', 'i', 'l', 'd', 'o', 'y', 'j']);
                let depth = 1 + self.random.below(3);
                Statement::Action(self.expression(kind, depth))
            }
            45..55 => self.variable(),
            55..70 => {
                let head = self.expression('a', 2);
                let scope = self.variables.len();
                let variable = self.bound('a');
                let body = self.statements(depth - 1);
                let otherwise = self.otherwise(depth, true);
                self.variables.truncate(scope);
                Statement::Block("if", variable, Some(head), body, otherwise)
            }
            70..78 => {
                let kind = *self.random.pick(&['d', 'a', 's']);
                let head = self.expression(kind, 1);
                let scope = self.variables.len();
                let variable = self.bound(kind);
                let body = self.statements(depth - 1);
                let otherwise = self.otherwise(depth, true);
                self.variables.truncate(scope);
                Statement::Block("with", variable, Some(head), body, otherwise)
            }
            78..93 => self.range(depth),
            93..97 if self.defines > 0 => {
                let which = self.random.below(self.defines);
                let root = Expression::Leaf("$".to_owned());
                let value = match self.random.below(10) {
                    0..5 => root,
                    5..8 => self.context(1),
                    _ => self.expression('a', 1),
                };
                Statement::Template(which, value)
            }
            _ if self.in_range => {
                let keyword = *self.random.pick(&["break", "continue"]);
                Statement::Jump(keyword, self.expression('b', 2))
            }
            _ => Statement::Text((*self.random.pick(&COMMENTS)).to_owned()),
        }
    }

    /// Sometimes a variable for the head of a block.
    fn bound(&mut self, kind: char) -> String {
        if !self.random.chance(20) {
            return String::new();
        }
        self.names += 1;
        let name = format!("$h{}", self.names);
        self.variables.push((name.clone(), kind));
        format!("{name} := ")
    }

    fn otherwise(&mut self, depth: usize, heads: bool) -> Vec<(Option<Expression>, Vec<Statement>)> {
        let mut parts = Vec::new();
        if heads && self.random.chance(20) {
            parts.push((Some(self.expression('a', 1)), self.statements(depth - 1)));
        }
        if self.random.chance(40) {
            parts.push((None, self.statements(depth - 1)));
        }
        parts
    }

    fn variable(&mut self) -> Statement {
        let kind = *self.random.pick(&['s', 'i', 'l', 'd', 'a', 'o']);
        let value = self.expression(kind, 2);
        if self.random.chance(30) && !self.variables.is_empty() {
            let (name, _) = self.random.pick(&self.variables).clone();
            return Statement::Variable(name, false, value);
        }
        self.names += 1;
        let name = format!("$v{}", self.names);
        self.variables.push((name.clone(), kind));
        Statement::Variable(name, true, value)
    }

    /// What helpers are called with: the root and more, in a map or a list.
    fn context(&mut self, depth: usize) -> Expression {
        let leaf = |text: &str| Expression::Leaf(text.to_owned());
        let value = self.expression('a', depth);
        if self.random.chance(70) {
            Expression::Call("dict", vec![leaf("\"Values\""), leaf("$.Values"), leaf("\"x\""), value])
        } else {
            Expression::Call("list", vec![leaf("$"), value])
        }
    }

    fn range(&mut self, depth: usize) -> Statement {
        let kind = *self.random.pick(&['l', 'l', 't', 'd', 'd', 'n', 'a']);
        let head = self.expression(kind, 1);
        let scope = self.variables.len();
        self.names += 1;
        let (key, item) = (format!("$k{}", self.names), format!("$x{}", self.names));
        let known = self.variables.last().map(|(name, _)| name.clone());
        let variables = match (self.random.below(13), known) {
            (0..4, _) => String::new(),
            (12, Some(known)) => format!("{known} = "),
            (4..8, _) => {
                self.variables.push((item.clone(), 'a'));
                format!("{item} := ")
            }
            _ => {
                self.variables.push((key.clone(), if kind == 'd' { 's' } else { 'i' }));
                self.variables.push((item.clone(), 'a'));
                format!("{key}, {item} := ")
            }
        };
        let outer = std::mem::replace(&mut self.in_range, true);
        let body = self.statements(depth - 1);
        self.in_range = outer;
        let otherwise = self.otherwise(depth, false);
        self.variables.truncate(scope);
        Statement::Block("range", variables, Some(head), body, otherwise)
    }

    /// An expression of a kind, usually.
    fn expression(&mut self, kind: char, depth: usize) -> Expression {
        // What is no time is now to sprig, which is another time a moment later: what stands beside it tells days.
        let kind = if !matches!(kind, 'N' | 'W' | 'Q' | 'E' | 'w') && self.random.chance(3) {
            *self.random.pick(&['s', 'i', 'a', 'l', 'd', 'o', 'b', 'N', 'V'])
        } else {
            kind
        };
        if depth == 0 || self.random.chance(12) {
            return self.leaf(kind);
        }
        if self.defines > 0 && fits('s', kind) && self.random.chance(15) {
            let name = format!("\"@@.{}\"", self.random.below(self.defines));
            let context = self.context(depth - 1);
            return Expression::Call("include", vec![Expression::Leaf(name), context]);
        }
        let fitting: Vec<&'static Function> =
            functions().iter().filter(|one| fits(one.answer, kind)).collect();
        if fitting.is_empty() {
            return self.leaf(kind);
        }
        let function = *self.random.pick(&fitting);
        let mut arguments: Vec<Expression> =
            function.arguments.chars().map(|kind| self.expression(kind, depth - 1)).collect();
        // Too few or too many arguments.
        if self.random.chance(1) {
            if self.random.chance(50) {
                arguments.pop();
            } else {
                arguments.push(self.leaf('a'));
            }
        }
        let named = fields(function.answer);
        if arguments.len() > 1 && self.random.chance(35) {
            let last = arguments.pop().expect("there is one");
            return Expression::Piped(Box::new(last), function.name, arguments);
        }
        let value = Expression::Call(function.name, arguments);
        if kind == 'a' && !named.is_empty() && self.random.chance(30) {
            let (field, _) = *self.random.pick(named);
            let value = Expression::Field(Box::new(value), field);
            if self.random.chance(30) {
                let (field, _) = *self.random.pick(named);
                return Expression::Field(Box::new(value), field);
            }
            return value;
        }
        value
    }

    /// A format with flags, width and precision.
    fn format(&mut self) -> String {
        let mut text = "\"".to_owned();
        for _ in 0..=self.random.below(2) {
            text.push('%');
            for flag in ['+', '-', '#', ' ', '0'] {
                if self.random.chance(15) {
                    text.push(flag);
                }
            }
            text.push_str(self.random.pick::<&str>(&["", "", "", "3", "12", "07", "*", "[1]", "[2]"]));
            text.push_str(self.random.pick::<&str>(&["", "", "", ".0", ".3", ".12", ".", ".*"]));
            let verbs = [
                "v", "s", "d", "q", "x", "X", "t", "T", "b", "c", "o", "O", "U", "e", "E", "f", "F", "g", "G",
            ];
            text.push_str(self.random.pick::<&str>(&verbs));
            text.push_str(self.random.pick::<&str>(&["", "|", " "]));
        }
        text + "\""
    }

    fn leaf(&mut self, kind: char) -> Expression {
        // The dot outside of loops is everything, pointers included.
        if self.in_range && kind == 'a' && self.random.chance(15) {
            return Expression::Leaf(".".to_owned());
        }
        // Helpers see what they are called with.
        if self.in_define && kind == 'a' && self.random.chance(15) {
            return Expression::Leaf(
                (*self.random.pick(&[".x", "$.x", "(index . 1)", ".", "$", ".x.a"])).to_owned(),
            );
        }
        if kind == 'F' && self.random.chance(50) {
            return Expression::Leaf(self.format());
        }
        let seen: Vec<&String> =
            self.variables.iter().filter(|(_, known)| fits(*known, kind)).map(|(name, _)| name).collect();
        if !seen.is_empty() && self.random.chance(40) {
            return Expression::Leaf((*self.random.pick(&seen)).clone());
        }
        Expression::Leaf((*self.random.pick(leaves(kind))).to_owned())
    }
}

/// Whether a value of one kind may stand where the other is asked for.
fn fits(found: char, asked: char) -> bool {
    found == asked
        || match asked {
            'a' => true,
            's' => matches!(found, 's' | 'y' | 'j' | 'm' | '6' | '2'),
            'o' => matches!(found, 'i' | 'o'),
            'l' => found == 't',
            'd' => found == 'U',
            _ => false,
        }
}
