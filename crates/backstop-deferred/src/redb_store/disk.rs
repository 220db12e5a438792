//! The file of a store.

use std::{
    fs::{File, OpenOptions},
    io,
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
        // Later versions of redb read only version 3 of the format.
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).create_with_file_format_v3(true).create_with_backend(self.clone())
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
