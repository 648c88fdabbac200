import{l as o}from"./chunk-TQY4V5RM.js";var n=o(null),p=o(null);export{n as a,p as b};
