//! `ManagementBackup`: backups of the management cluster and the regions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::int;

/// When to make a backup and where to keep it.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ManagementBackup",
    doc = "Backups of the management cluster and the regions.",
    status = "ManagementBackupStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "kcmbackup",
    shortname = "mgmtbackup",
    printcolumn(
        name = "LastBackupStatus",
        type_ = "string",
        json_path = ".status.lastBackup.phase",
        description = "Phase of the last backup"
    ),
    printcolumn(
        name = "NextBackup",
        type_ = "string",
        json_path = ".status.nextAttempt",
        description = "When the next backup is due"
    ),
    printcolumn(
        name = "SinceLastBackup",
        type_ = "date",
        json_path = ".status.lastBackupTime",
        priority = 1,
        description = "Time since the last backup"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    ),
    printcolumn(
        name = "Error",
        type_ = "string",
        json_path = ".status.error",
        priority = 1,
        description = "Why there is no backup"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ManagementBackupSpec {
    /// Make a backup before each upgrade as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perform_on_management_upgrade: Option<bool>,
    /// When to make a backup, in cron's notation. Once, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The Velero BackupStorageLocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_location: Option<String>,
}

/// The backups that were made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagementBackupStatus {
    /// Why there is no backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last backup of the management cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<BackupStatus>,
    /// Name of the last backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_name: Option<String>,
    /// When the last backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_time: Option<Time>,
    /// When the next backup is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Time>,
    /// The region; the management cluster when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The last backups of the regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionBackupStatus>,
}

/// The backups of one region.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegionBackupStatus {
    /// Why there is no backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last backup of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<BackupStatus>,
    /// Name of the last backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_name: Option<String>,
    /// When the last backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_time: Option<Time>,
    /// When the next backup is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Time>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// The status of a Velero Backup (velero.io/v1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Asynchronous operations that were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub backup_item_operations_attempted: Option<i64>,
    /// Asynchronous operations that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub backup_item_operations_completed: Option<i64>,
    /// Asynchronous operations that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub backup_item_operations_failed: Option<i64>,
    /// When the backup ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// CSI snapshots that were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub csi_volume_snapshots_attempted: Option<i64>,
    /// CSI snapshots that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub csi_volume_snapshots_completed: Option<i64>,
    /// Number of errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub errors: Option<i64>,
    /// When the backup may be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// Why the whole backup failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Version of the backup's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<String>,
    /// Hooks that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<BackupHookStatus>,
    /// How far the backup is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// Objects that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
    /// Place in the queue of backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub queue_position: Option<i64>,
    /// When the backup began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// Why the backup was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_errors: Vec<String>,
    /// Major version of the backup's format. Deprecated: use formatVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub version: Option<i64>,
    /// Volume snapshots that were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub volume_snapshots_attempted: Option<i64>,
    /// Volume snapshots that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub volume_snapshots_completed: Option<i64>,
    /// Number of warnings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub warnings: Option<i64>,
}

/// Hooks that ran during a backup.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupHookStatus {
    /// Hooks that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub hooks_attempted: Option<i64>,
    /// Hooks that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub hooks_failed: Option<i64>,
}

/// How far a backup is, in objects.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// Objects that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub items_backed_up: Option<i64>,
    /// All objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int")]
    pub total_items: Option<i64>,
}

/// How far a backup is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackupPhase {
    /// Made and not looked at.
    #[default]
    New,
    /// Waits for other backups.
    Queued,
    /// Next in the queue.
    ReadyToStart,
    /// Refused.
    FailedValidation,
    /// Objects are being copied.
    InProgress,
    /// Waits for asynchronous operations.
    WaitingForPluginOperations,
    /// Waits for asynchronous operations; some objects failed.
    WaitingForPluginOperationsPartiallyFailed,
    /// Results are being collected.
    Finalizing,
    /// Results are being collected; some objects failed.
    FinalizingPartiallyFailed,
    /// Complete.
    Completed,
    /// Some objects failed.
    PartiallyFailed,
    /// The whole backup failed.
    Failed,
    /// Being deleted.
    Deleting,
}
