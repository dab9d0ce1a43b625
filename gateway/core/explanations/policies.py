"""Texts of policy verdicts."""

from __future__ import annotations

from gateway.core.explanations.text import Text

POLICIES: dict[str, Text] = {
    "builtin/state-secret-commercial": Text(
        zh="{level}属于国家秘密，“{zone}”是商用密码网络：商用密码不得用于保护国家秘密（密码法第七、八条）",
        en="{level_id} is a state secret and {zone_id} is a zone of commercial ciphers, which may not protect state secrets",
        fix="Send it through the classified channel prescribed for it; this rule cannot be switched off. If the level is wrong, only the classifier may change it.",
        fix_zh="请改用规定的涉密渠道传递；本规则不能关闭。密级标错的，只能由定密责任人更正。",
    ),
    "builtin/level-missing": Text(
        zh="公文没有标明密级（公开、内部、工作秘密……）",
        en="the document bears no level",
        fix="Give it a level; an unmarked document waits for a person and never leaves by itself.",
        fix_zh="请标明密级；未标密级的公文须人工处理，不会自动发出。",
    ),
    "builtin/part-above-document": Text(
        zh="“{part}”为{part_level}，高于公文的{level}",
        en="part {part} is {level_id}, above the document's level",
        fix="Raise the document to {level_id}, or take the part out.",
        fix_zh="请将公文密级提高到{part_level}，或移除该文件。",
    ),
    "policy/level-unknown": Text(
        zh="没有“{level}”这个密级",
        en="there is no level {level}",
        fix="Use public, internal, work-secret, secret, confidential or top-secret.",
        fix_zh="请使用 公开、内部、工作秘密、秘密、机密、绝密 之一。",
    ),
    "policy/urgency-unknown": Text(
        zh="没有“{urgency}”这个紧急程度",
        en="there is no urgency {urgency}",
        fix="Use flash, immediate, urgent or routine.",
        fix_zh="请使用 特提、特急、加急、平件 之一。",
    ),
    "policy/no-recipients": Text(
        zh="没有收件单位",
        en="there is no recipient",
        fix="Name at least one organisation of the directory.",
        fix_zh="请至少指定一个交换目录中的单位。",
    ),
    "policy/zone-unknown": Text(
        zh="策略中没有网络域“{zone}”",
        en="the policy knows no zone {zone}",
        fix="Ask the security officer to define the zone in the policy, or the directory authority to correct the entry.",
        fix_zh="请安全管理员在策略中定义该网络域，或由目录管理单位更正条目。",
    ),
    "policy/level-not-handled": Text(
        zh="策略不允许{level}公文通过",
        en="the policy lets no document of level {level_id} pass",
        fix="Use another channel, or ask the security officer whether the policy should handle this level.",
        fix_zh="请改用其他渠道，或请安全管理员确认策略是否应处理该密级。",
    ),
    "policy/zone-level": Text(
        zh="{level}高于网络域“{zone}”的最高密级{highest}",
        en="{level_id} is above the highest level of zone {zone}",
        fix="Use a zone that may carry this level.",
        fix_zh="请使用允许该密级的网络。",
    ),
    "policy/organisation-level": Text(
        zh="单位 {org} 的最高密级为{highest}，不得收发{level}公文",
        en="organisation {org} may not hold documents of level {level_id}",
        fix="Take {org} out of the recipients, or have its highest level in the directory corrected.",
        fix_zh="请从收件单位中移除 {org}，或由目录管理单位更正其最高密级。",
    ),
    "policy/no-flow": Text(
        zh="{level}公文不得从“{origin}”流向“{target}”（收件单位 {org}）",
        en="no flow lets level {level_id} cross from zone {origin} to zone {target} (recipient {org})",
        fix="Take {org} out of the recipients, or ask the security officer for a flow between these zones.",
        fix_zh="请移除收件单位 {org}，或请安全管理员在策略中设置两域之间的流向。",
    ),
    "policy/no-route": Text(
        zh="没有规则允许 {sender} 向 {org} 发送{level}公文",
        en="no route lets {sender} write to {org} at level {level_id}",
        fix="Take {org} out of the recipients, or ask the security officer for a route.",
        fix_zh="请移除收件单位 {org}，或请安全管理员在策略中增加路由。",
    ),
    "policy/suite-not-allowed": Text(
        zh="{level}公文不得使用密码套件 {suite}，允许的是 {allowed}",
        en="suite {suite} is not allowed at level {level_id}; allowed: {allowed}",
        fix="Use one of {allowed}.",
        fix_zh="请使用 {allowed}。",
    ),
    "policy/no-common-suite": Text(
        zh="发件单位与全部收件单位没有共同的、{level}允许的密码套件（{allowed}）；不具备的单位：{orgs}",
        en="sender and recipients share no suite allowed at level {level_id} ({allowed}); the ones it fails for: {orgs}",
        fix="Have certificates of one of these suites issued and listed in the directory for {orgs}, or send to them separately.",
        fix_zh="请为 {orgs} 签发其中一种套件的证书并列入目录，或分开发送。",
    ),
    "policy/timestamp-missing": Text(
        zh="{level}公文必须带可信时间戳",
        en="level {level_id} needs a trusted timestamp",
        fix="The sender's gateway must have its signature stamped by an allowed time authority.",
        fix_zh="发件网关须由允许的时间戳机构为其签名加盖时间戳。",
    ),
    "policy/too-large": Text(
        zh="内容共 {size} 字节，超过{level}公文的上限 {largest} 字节",
        en="{size} bytes are more than the {largest} allowed at level {level_id}",
        fix="Send less, or in several exchanges.",
        fix_zh="请缩减内容，或分多次发送。",
    ),
    "policy/type": Text(
        zh="“{part}”的类型 {type} 不在{level}公文允许之列",
        en="part {part} is of type {type}, which is not allowed at level {level_id}",
        fix="Convert it to an allowed type such as PDF or OFD, or ask the security officer to allow the type.",
        fix_zh="请转换为允许的类型（如 PDF、OFD），或请安全管理员放行该类型。",
    ),
    "policy/life-too-long": Text(
        zh="有效期至 {expires}，超过策略允许的 {days} 天",
        en="it would live until {expires}, longer than the {days} days the policy lets an exchange live",
        fix="Choose an earlier end.",
        fix_zh="请缩短有效期。",
    ),
    "policy/expired": Text(
        zh="交换已于 {expires} 到期",
        en="the exchange ended at {expires}",
        fix="Send it anew.",
        fix_zh="请重新发送。",
    ),
    "policy/approvals": Text(
        zh="{level}公文须有 {needed} 人批准，现有 {given} 人",
        en="level {level_id} needs the approval of {needed} people; it has {given}",
        fix="Have it approved; it waits until then.",
        fix_zh="请完成审批；在此之前公文处于待批状态。",
    ),
    "policy/degraded": Text(
        zh="{mode} 自 {since} 起不可用；{level}公文只容许到 {until}",
        en="{mode} has been away since {since}; level {level_id} may go on until {until} and no longer",
        fix="Bring back what is away (`yizhan doctor` says what to do); it goes on by itself then.",
        fix_zh="请恢复所缺条件（`yizhan doctor` 会给出办法），恢复后自动继续。",
    ),
    "policy/grace": Text(
        zh="{mode} 自 {since} 起不可用；策略容许{level}公文暂时继续",
        en="{mode} has been away since {since}; the policy lets level {level_id} go on for a while",
        fix="Bring back what is away before its time is over (`yizhan doctor` shows how long).",
        fix_zh="请在期限内恢复所缺条件（`yizhan doctor` 显示剩余时间）。",
    ),
    "policy/permitted": Text(
        zh="路由“{route}”允许{level}公文通过",
        en="route {route} permits documents of level {level_id}",
        fix="",
        fix_zh="",
    ),
}
