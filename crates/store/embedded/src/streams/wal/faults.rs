//! The log on a disk that fails: writes that never reached it, blocks that were torn, errors, no room left.
//!
//! What holds: every acknowledged record comes back after a power cut, in order; nothing comes back that was never written.

use std::io::{Error, ErrorKind, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use camino::Utf8PathBuf;
use fs_err as fs;
use proptest::prelude::*;

use super::{Entry, LogFile, Wal};

/// Disks write blocks whole, in any order.
const BLOCK: usize = 512;

/// What goes wrong with one append.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// The disk takes so many bytes more.
    NoRoom(usize),
    /// A write fails.
    WriteError,
    /// The sync fails; what was not on the disk before is there in part, and forgotten by the system.
    SyncError,
}

#[derive(Debug)]
struct Disk {
    real: fs::File,
    /// Written and not synced: place and bytes.
    pending: Vec<(u64, Vec<u8>)>,
    fault: Fault,
    /// Decides which blocks reach the disk.
    seed: u64,
}

impl Disk {
    fn chance(&mut self) -> bool {
        // Xorshift: good enough to pick blocks, and the same every time.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed & 1 == 1
    }

    /// The power goes, or the system gives up: some blocks reach the disk, others do not.
    fn lose(&mut self) {
        for (start, bytes) in std::mem::take(&mut self.pending) {
            let mut at = 0;
            while at < bytes.len() {
                let end = (at + BLOCK - (start as usize + at) % BLOCK).min(bytes.len());
                if self.chance() {
                    self.put(start + at as u64, &bytes[at..end]);
                }
                at = end;
            }
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.real.seek(SeekFrom::Start(at)).unwrap();
        self.real.write_all(bytes).unwrap();
    }

    fn flush_pending(&mut self) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            self.put(at, &bytes);
        }
    }
}

/// A file on that disk.
#[derive(Debug)]
struct FaultyFile {
    disk: Arc<Mutex<Disk>>,
    at: u64,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut disk = self.disk.lock().unwrap();
        let taken = match disk.fault {
            Fault::WriteError => return Err(Error::from_raw_os_error(5)),
            Fault::NoRoom(0) => return Err(Error::from(ErrorKind::StorageFull)),
            Fault::NoRoom(left) => {
                let taken = left.min(bytes.len());
                disk.fault = Fault::NoRoom(left - taken);
                taken
            }
            _ => bytes.len(),
        };
        disk.pending.push((self.at, bytes[..taken].to_vec()));
        self.at += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for FaultyFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        if let SeekFrom::Start(at) = to {
            self.at = at;
        }
        Ok(self.at)
    }
}

impl LogFile for FaultyFile {
    fn sync_data(&self) -> std::io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if matches!(disk.fault, Fault::SyncError) {
            disk.lose();
            return Err(Error::from_raw_os_error(5));
        }
        disk.flush_pending();
        Ok(())
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.pending.retain(|(at, _)| *at < length);
        disk.real.set_len(length)
    }
}

/// Puts the faulty disk under an open log.
fn fail_from_now_on(wal: &mut Wal, seed: u64) -> Arc<Mutex<Disk>> {
    let path = wal.segments.last().unwrap().path.clone();
    let real = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let disk = Disk {
        real,
        pending: Vec::new(),
        fault: Fault::None,
        seed: seed | 1,
    };
    let disk = Arc::new(Mutex::new(disk));
    wal.file = Box::new(FaultyFile {
        disk: disk.clone(),
        at: wal.length,
    });
    disk
}

fn payload(number: u64) -> BytesMut {
    let mut payload = BytesMut::new();
    let text = "x".repeat(number as usize * 97 % 1500);
    let entry = Entry {
        backing: 1,
        seq_no: number,
        id: None,
        source: Bytes::from(format!("{{\"n\":{number},\"text\":\"{text}\"}}")),
    };
    entry.encode(&mut payload);
    payload
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => (0_usize..2000).prop_map(Fault::NoRoom),
        1 => Just(Fault::WriteError),
        1 => Just(Fault::SyncError),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_acknowledged_is_lost(faults in proptest::collection::vec(fault(), 1..20), seed in any::<u64>(), cut_in_the_middle in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let mut wal = Wal::open(&path, 0, &mut |_, _| Ok(())).unwrap();
        let disk = fail_from_now_on(&mut wal, seed);
        let (mut acknowledged, mut number) = (Vec::new(), 0);
        for fault in &faults {
            disk.lock().unwrap().fault = *fault;
            let written = wal.append(&[payload(number), payload(number + 1)]);
            if written.is_ok() {
                acknowledged.extend([number, number + 1]);
            }
            number += 2;
        }
        if cut_in_the_middle {
            // The power goes between write and sync.
            disk.lock().unwrap().fault = Fault::SyncError;
            prop_assert!(wal.append(&[payload(number)]).is_err());
        }
        disk.lock().unwrap().lose();
        drop(wal);
        let mut seen = Vec::new();
        let wal = Wal::open(&path, 0, &mut |_, entry| {
            seen.push(entry.seq_no);
            Ok(())
        }).unwrap();
        // What was never acknowledged may be there, whole, if it reached the disk by chance.
        prop_assert!(acknowledged.iter().all(|one| seen.contains(one)), "{acknowledged:?} {seen:?}");
        prop_assert!(seen.is_sorted() && seen.iter().all(|one| *one <= number));
        prop_assert!(wal.next() >= acknowledged.len() as u64);
    }
}
