//! The file of a store.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    path::Path,
    sync::Arc,
};

use redb::{Database, DatabaseError, StorageBackend, backends::FileBackend};

const CACHE: usize = 16 * 1024 * 1024;

/// A file that stays locked while its database is closed and opened again. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<dyn StorageBackend>);

impl Disk {
    /// Opens the file, or makes it, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        #[cfg(unix)]
        for_its_owner_alone(&file)?;
        let backend = FileBackend::new(file)?;
        #[cfg(unix)]
        sync_directory_of(path)?;
        Ok(Self::new(backend))
    }

    pub(super) fn new(backend: impl StorageBackend) -> Self {
        Self(Arc::new(backend))
    }

    pub(super) fn database(&self) -> Result<Database, DatabaseError> {
        if self.is_half_created()? {
            self.set_len(0)?;
        }
        // Later versions of redb read only version 3 of the format.
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).create_with_file_format_v3(true).create_with_backend(self.clone())
    }
}

const PAGE: usize = 4096;
/// The length of a new database, and more.
const LONGEST_NEW: u64 = 4 * 1024 * 1024;
/// In the database's header.
const MAGIC: Range<usize> = 0..9;
const PAGE_SIZE: Range<usize> = 12..16;

impl Disk {
    /// The magic number is written last when a database is created. Without it, nothing was ever stored, and redb refuses the file.
    fn is_half_created(&self) -> io::Result<bool> {
        let len = self.len()?;
        if len < PAGE as u64 || len > LONGEST_NEW {
            return Ok(false);
        }
        let header = self.read(0, PAGE)?;
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        Ok(is_zero(&header[MAGIC]) && (is_zero(&header) || header[PAGE_SIZE] == (PAGE as u32).to_le_bytes()))
    }
}

#[cfg(unix)]
fn for_its_owner_alone(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

/// A new file outlives a crash of the machine only if its name does.
#[cfg(unix)]
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        // The length may come from a damaged page, and an allocation of that length would abort the process.
        if offset.checked_add(len as u64).is_none_or(|end| self.0.len().is_ok_and(|len| end > len)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        self.0.sync_data(eventual)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
