//! The Go types of the functions' parameters: text/template holds every argument against them, one after the other,
//! before it calls the function.
//!
//! One letter each: `s` string, `i` int, `u` uint32, `f` float64, `b` bool, `m` map[string]interface {},
//! `l` []interface {}, `t` time.Time, `p` *time.Location, `y` []uint8, `v` *semver.Version,
//! `c` sprig.certificate, `a` interface {}; a star says that the next repeats.

use crate::template::fault::Fault;
use crate::template::value::{DictKind, ListKind, Value};

const SIGNATURES: &[(&str, &str)] = &[
    ("", "hello now uuidv4"),
    (
        "*a",
        "add addf all any cat coalesce concat dict dig html js list print println quote squote \
         tuple urlquery",
    ),
    ("*i", "seq"),
    ("*m", "keys"),
    (
        "a",
        "add1 add1f ago ceil compact deepCopy duration durationRound empty first float64 floor \
         htmlDate initial int int64 kindOf last len mustCompact mustDeepCopy mustFirst \
         mustInitial mustLast mustRest mustReverse mustToJson mustToPrettyJson mustToRawJson \
         mustToToml mustToYaml mustUniq not rest reverse sortAlpha toDecimal toJson toPrettyJson \
         toRawJson toString toStrings toToml toYaml toYamlPretty typeOf uniq",
    ),
    (
        "a*a",
        "and biggest call default divf eq index max maxf min minf mul mulf mustSlice mustWithout \
         or slice subf without",
    ),
    (
        "aa",
        "append deepEqual div ge gt has le lt mod mustAppend mustHas mustPrepend mustPush ne \
         prepend push sub",
    ),
    ("aab", "ternary"),
    ("ai*f", "round"),
    ("as", "chainRemoveField getField htmlDateInZone removeField"),
    ("asa", "chainSetField setField"),
    ("i", "randAlpha randAlphaNum randAscii randBytes randNumeric until"),
    ("ia", "chunk mustChunk"),
    ("ii", "randInt"),
    ("iii", "untilStep"),
    ("iis", "abbrevboth substr"),
    ("is", "abbrev indent nindent repeat trunc wrap"),
    ("iss", "wrapWith"),
    ("m", "urlJoin values"),
    ("m*m", "merge mergeOverwrite mustMerge mustMergeOverwrite"),
    ("m*s", "omit pick"),
    ("ms", "get hasKey unset"),
    ("msa", "set"),
    (
        "s",
        "adler32sum atoi b32dec b32enc b64dec b64enc base bcrypt camelcase clean dir ext fail \
         fromJson fromJsonArray fromToml fromYaml fromYamlArray genPrivateKey getHostByName \
         initials isAbs kebabcase lower mustFromJson nospace osBase osClean osDir \
         osExt osIsAbs regexQuoteMeta semver sha1sum sha256sum sha512sum shuffle snakecase \
         swapcase title trim untitle upper urlParse",
    ),
    ("s*a", "printf"),
    ("s*m", "pluck"),
    ("sa", "date include join kindIs required tpl typeIs typeIsLike"),
    ("sas", "dateInZone date_in_zone"),
    ("si", "genCA"),
    ("sis", "genCAWithKey splitn"),
    ("slli", "genSelfSignedCert"),
    ("sllic", "genSignedCert"),
    ("sllics", "genSignedCertWithKey"),
    ("sllis", "genSelfSignedCertWithKey"),
    (
        "ss",
        "buildCustomCert contains decryptAES encryptAES hasPrefix hasSuffix htpasswd \
         mustRegexFind mustRegexMatch mustToDate regexFind regexMatch semverCompare split \
         splitList toDate trimAll trimPrefix trimSuffix trimall",
    ),
    ("ssi", "mustRegexFindAll mustRegexSplit plural regexFindAll regexSplit"),
    (
        "sss",
        "mustRegexReplaceAll mustRegexReplaceAllLiteral regexReplaceAll regexReplaceAllLiteral \
         replace",
    ),
    ("ssss", "lookup"),
    ("st", "dateModify date_modify mustDateModify must_date_modify"),
    ("t", "unixEpoch"),
    ("ussss", "derivePassword"),
];

/// The parameters of a function, as one letter per type.
pub(crate) fn parameters(name: &str) -> &'static str {
    SIGNATURES
        .iter()
        .find(|(_, names)| names.split(' ').any(|known| known == name))
        .map_or("*a", |(parameters, _)| parameters)
}

/// The type of the parameter at a position.
pub(crate) fn parameter(parameters: &'static str, at: usize) -> u8 {
    let bytes = parameters.as_bytes();
    match bytes.iter().position(|letter| *letter == b'*') {
        Some(star) if at >= star => bytes[star + 1],
        _ => bytes.get(at).copied().unwrap_or(b'a'),
    }
}

/// Go's name of a parameter's type.
pub(crate) fn type_name(letter: u8) -> &'static str {
    match letter {
        b's' => "string",
        b'i' => "int",
        b'u' => "uint32",
        b'f' => "float64",
        b'b' => "bool",
        b'm' => "map[string]interface {}",
        b'l' => "[]interface {}",
        b't' => "time.Time",
        b'p' => "*time.Location",
        b'y' => "[]uint8",
        b'v' => "*semver.Version",
        b'c' => "sprig.certificate",
        _ => "interface {}",
    }
}

/// What text/template calls a literal of that type, where it takes literals at all.
pub(crate) fn literal_name(letter: u8) -> Option<&'static str> {
    match letter {
        b's' => Some("string"),
        b'i' => Some("integer"),
        b'u' => Some("unsigned integer"),
        b'f' => Some("float"),
        b'b' => Some("bool"),
        _ => None,
    }
}

/// Whether nil is a value of that type.
pub(crate) fn can_be_nil(letter: u8) -> bool {
    matches!(letter, b'm' | b'l' | b'a' | b'p' | b'y' | b'v')
}

/// text/template's check of an evaluated argument.
pub(crate) fn check(value: &Value, letter: u8) -> Result<(), Fault> {
    let fits = match (letter, value) {
        (b'a', _) => true,
        (_, Value::Nil) => {
            if can_be_nil(letter) {
                return Ok(());
            }
            return Err(Fault::Type(format!("invalid value; expected {}", type_name(letter))));
        }
        (b's', Value::Str(_)) | (b'i', Value::Int(_)) | (b'f', Value::Float(_)) | (b'b', Value::Bool(_)) => {
            true
        }
        (b'm', Value::Dict(dict)) => {
            matches!(dict.kind(), DictKind::Any | DictKind::Values | DictKind::Nothing)
        }
        (b'l', Value::List(list)) => matches!(list.kind(), ListKind::Any | ListKind::Nothing),
        (b'y', Value::List(list)) => list.kind() == ListKind::Bytes,
        (b't' | b'p' | b'v' | b'c', Value::Object(object)) => object.type_name() == type_name(letter),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let (expected, found) = (type_name(letter), value.type_name());
    Err(Fault::Type(format!("wrong type for value; expected {expected}; got {found}")))
}
