//! What runs in the containers of tests: a static program that plays the part its arguments name.
//!
//! `pause`                          waits for ever (also the sandbox of pods)
//! `serve [late=S] [crash=S]`       HTTP at port 8080: `/` answers what `TEXT` and the file `/config/text` hold, `/ready`
//!                                  succeeds after `late` seconds; ends with code 1 after `crash` seconds
//! `exit CODE [after=S] [say=TEXT]` ends with this code
//! `eat`                            takes memory until it is killed
//! `fetch ADDRESS TEXT [within=S]`  succeeds when an HTTP GET of ADDRESS (`HOST:PORT`) answers TEXT
//!
//! Built by `rustc -C target-feature=+crt-static`, without any crate.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let prefix = format!("{name}=");
        arguments.iter().find_map(|argument| argument.strip_prefix(prefix.as_str())).map(str::to_owned)
    };
    let seconds = |name: &str| option(name).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    match arguments.first().map(String::as_str) {
        Some("pause") => pause(),
        Some("serve") => serve(seconds("late").unwrap_or_default(), seconds("crash")),
        Some("exit") => {
            sleep(seconds("after").unwrap_or_default());
            println!("{}", option("say").unwrap_or_else(|| "done".to_owned()));
            exit(arguments.get(1).and_then(|code| code.parse().ok()).unwrap_or(2))
        }
        Some("eat") => eat(),
        Some("fetch") if arguments.len() > 2 => {
            fetch(&arguments[1], &arguments[2], seconds("within").unwrap_or(Duration::from_secs(20)))
        }
        _ => {
            eprintln!("actor: no such part: {arguments:?}");
            exit(2)
        }
    }
}

fn pause() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn serve(late: Duration, crash: Option<Duration>) -> ! {
    let begun = Instant::now();
    if let Some(crash) = crash {
        std::thread::spawn(move || {
            sleep(crash);
            println!("crashed on purpose");
            exit(1)
        });
    }
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap_or_else(|error| {
        eprintln!("actor: failed to listen: {error}");
        exit(3)
    });
    println!("serving");
    for stream in listener.incoming().flatten() {
        let ready = begun.elapsed() >= late;
        std::thread::spawn(move || answer(stream, ready));
    }
    exit(4)
}

fn answer(mut stream: TcpStream, ready: bool) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let (code, body) = match request.split(' ').nth(1) {
        Some("/ready") if ready => ("200 OK", "ready".to_owned()),
        Some("/ready") => ("503 Service Unavailable", "late".to_owned()),
        _ => {
            let file = std::fs::read_to_string("/config/text").unwrap_or_default();
            ("200 OK", format!("{}{file}", std::env::var("TEXT").unwrap_or_default()))
        }
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {code}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

fn eat() -> ! {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 1 << 20]);
        if eaten.len() == 4096 {
            println!("nobody minds {} MiB", eaten.iter().map(Vec::len).sum::<usize>() >> 20);
            exit(5)
        }
    }
}

fn fetch(address: &str, wanted: &str, within: Duration) -> ! {
    let deadline = Instant::now() + within;
    loop {
        let got = get(address);
        if got.as_ref().is_ok_and(|text| text.contains(wanted)) {
            println!("got {wanted}");
            exit(0)
        }
        if Instant::now() >= deadline {
            println!("{address} answers {got:?}, not {wanted}");
            exit(1)
        }
        sleep(Duration::from_millis(200));
    }
}

fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
