//! Unpacks `.tgz` charts in memory. Refused: paths that leave the chart, links, files or totals beyond the limits
//! (checked before the bytes are taken, so a small archive cannot unpack to a large one).

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::model::ChartError;
use crate::limits::Limits;

const BLOCK: usize = 512;

/// The files of an archive, without the chart's own folder in their paths.
pub(crate) fn unpack(tgz: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, ChartError> {
    if tgz.len() as u64 > limits.chart_bytes {
        return Err(ChartError::TooLarge { what: "archive".to_owned(), maximum: limits.chart_bytes });
    }
    let mut tar = Vec::new();
    // Headers and padding come on top of the files themselves.
    let room = limits.chart_bytes.saturating_add(limits.chart_files as u64 * 1536).saturating_add(1 << 20);
    MultiGzDecoder::new(tgz)
        .take(room + 1)
        .read_to_end(&mut tar)
        .map_err(|problem| ChartError::Archive { reason: format!("failed to decompress: {problem}") })?;
    if tar.len() as u64 > room {
        return Err(ChartError::TooLarge {
            what: "decompressed chart".to_owned(),
            maximum: limits.chart_bytes,
        });
    }
    entries(&tar, limits)
}

fn entries(tar: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, ChartError> {
    let broken = |reason: &str| ChartError::Archive { reason: reason.to_owned() };
    let mut files = Vec::new();
    let (mut at, mut total) = (0_usize, 0_u64);
    let mut long_name: Option<String> = None;
    while let Some(header) = tar.get(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        at += BLOCK;
        if !checksum_holds(header) {
            return Err(broken("invalid tar header"));
        }
        let size = number(&header[124..136]).ok_or_else(|| broken("invalid size in a tar header"))?;
        let length = usize::try_from(size).map_err(|_| broken("invalid size in a tar header"))?;
        let data = at
            .checked_add(length)
            .and_then(|end| tar.get(at..end))
            .ok_or_else(|| broken("unexpected end"))?;
        at = at.saturating_add(length.div_ceil(BLOCK).saturating_mul(BLOCK));
        match header[156] {
            b'L' => long_name = Some(text(data)),
            b'x' => long_name = pax_path(data).or(long_name),
            b'g' | b'5' | b'K' => {}
            b'0' | 0 | b'7' => {
                let name = long_name.take().unwrap_or_else(|| header_name(header));
                if name.ends_with('/') {
                    continue;
                }
                if size > limits.chart_file_bytes {
                    let what = format!("decompressed chart file {name:?}");
                    return Err(ChartError::TooLarge { what, maximum: limits.chart_file_bytes });
                }
                total += size;
                if total > limits.chart_bytes {
                    return Err(ChartError::TooLarge {
                        what: "decompressed chart".to_owned(),
                        maximum: limits.chart_bytes,
                    });
                }
                if files.len() >= limits.chart_files {
                    return Err(ChartError::TooMany { what: "files", maximum: limits.chart_files });
                }
                files.push((inner_path(&name)?, data.to_vec()));
            }
            _ => {
                let name = long_name.take().unwrap_or_else(|| header_name(header));
                return Err(ChartError::IllegalPath {
                    path: name,
                    reason: "it is a link or a device, not a file",
                });
            }
        }
    }
    if files.is_empty() {
        return Err(broken("no files in chart archive"));
    }
    Ok(files)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn header_name(header: &[u8]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    if &header[257..262] == b"ustar" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

/// Octal, or big-endian binary when the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        return field[4..]
            .iter()
            .try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits: String = field.iter().map(|byte| char::from(*byte)).filter(|c| c.is_ascii_digit()).collect();
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(&digits, 8).ok() }
}

fn checksum_holds(header: &[u8]) -> bool {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
        .sum();
    number(&header[148..156]) == Some(sum)
}

/// The `path` record of a PAX header.
fn pax_path(data: &[u8]) -> Option<String> {
    let mut rest = data;
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Some(String::from_utf8_lossy(path.strip_suffix(b"\n").unwrap_or(path)).into_owned());
        }
        rest = rest.get(length..)?;
    }
    None
}

/// The path without its first folder, checked. A name with a backslash is one of Windows.
fn inner_path(name: &str) -> Result<String, ChartError> {
    let illegal = |reason| ChartError::IllegalPath { path: name.to_owned(), reason };
    let delimiter = if name.contains('\\') { '\\' } else { '/' };
    let Some((first, inner)) = name.split_once(delimiter) else {
        return Err(illegal(if name == "Chart.yaml" {
            "chart yaml not in base directory"
        } else {
            "it is outside the base directory"
        }));
    };
    let inner = check_path(&inner.replace(delimiter, "/")).map_err(illegal)?;
    if inner.starts_with("..") {
        return Err(illegal("chart illegally references parent directory"));
    }
    if first == "Chart.yaml" {
        return Err(illegal("chart yaml not in base directory"));
    }
    Ok(inner)
}

/// The path in its shortest form, if it stays inside the chart.
pub(crate) fn check_path(path: &str) -> Result<String, &'static str> {
    let bytes = path.as_bytes();
    if path.starts_with('/') {
        return Err("chart illegally contains absolute paths");
    }
    if bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && bytes[2] == b'/' {
        return Err("chart contains illegally named files");
    }
    if path.contains('\0') {
        return Err("the path contains a NUL");
    }
    let clean = crate::template::funcs::paths::clean(path);
    if clean == "." {
        return Err("chart illegally contains content outside the base directory");
    }
    if clean == ".." || clean.starts_with("../") {
        return Err("chart illegally references parent directory");
    }
    Ok(clean)
}
